"""A tiny BERT with a WordPiece tokenizer of its own, built in milliseconds."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from spt_core.families.text.bases import build_encoder, store_base

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = "the a of to is was in at for patient was given risk value capital credit swap and not do"
STARTS = "war met phe de col"
PIECES = (
    "far in for to ##far ##in ##for ##min ##ny ##to ##ault ##late ##ral ##iz ##ed ##s ##t ##oin"
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?-'()&/\u20ac\u2122"


def tiny_tokenizer():
    names = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS)]
    names += f"{WORDS} {STARTS} {PIECES}".split()
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(list(SPECIAL))
    return made.to_str().encode()


def tiny_config(size):
    return {
        "model_type": "bert",
        "vocab_size": size,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }


def tiny_base(storage, tokenizer=None):
    tokenizer = tokenizer or tiny_tokenizer()
    config = tiny_config(len(json.loads(tokenizer)["model"]["vocab"]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_encoder(config).state_dict()
    return store_base("tiny", config, tokenizer, weights, storage=storage)


TEXTS = [
    "The patient was given warfarin and metformin.",
    "Warfarin was not given; phenytoin was.",
    "The value at risk of a credit default swap, collateralized.",
    "Metformin and warfarin at risk: collateralized value at risk.",
    "A credit default swap is not a swap.",
] * 4
