"""Which drugs of a text interact, how, and how severely by what the text says?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from spt_core.answers import PROBABILITY, phrases_schema, probability_schema
from spt_core.judgement import LabelScore, Pairs, PairScores, Span
from spt_core.protected import ATTRIBUTES
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

UNRELATED = "none"
TYPES = ("advise", "effect", "int", "mechanism")  # those of the DDI corpus
SENTENCES_PER_DOCUMENT = 10
Severity = Literal["contraindicated", "major", "moderate", "minor", "unspecified"]

# A rule, not a model, applied to the sentences around the two drugs. The words of denials and of
# hours apart are taken out, then the first line whose words the rest still holds decides; else a
# denial of the effect makes it minor, else the type decides. What is denied may be of another drug,
# so it must not outweigh what is stated; who needs no other dose, or may combine them, is told no
# more; and drugs to be taken hours apart are combined ("not within 14 days" is another matter). A
# denied harm is no harm where nothing says that it is not known ("did not raise the risk of
# bleeding", "no deaths occurred"); the type decides then, as nothing says that it is minor.
DENYING_EFFECT = (
    r"no clinically (?:significant|relevant|important)(?: \w+)?"
    r"|not clinically (?:significant|relevant|important)"
)
DENYING_ADVICE = (
    r"no dos(?:e|age) adjustments?|no (?:known )?contra[- ]?indications?"
    r"|not (?:contra[- ]?indicated|prohibited|forbidden|unsafe|dangerous|hazardous)"
    r"|no (?:need to|reason to) (?:avoid|monitor|adjust|reduce the dose)"
    r"|(?:need not|(?:do|does|did) not (?:need|have) to|not necessary to) (?:be )?(?:\w+ly )?"
    r"(?:avoid|monitor|adjust)(?:ed)?"
    r"|no (?:(?:special|specific|additional|further|routine|closer?|clinical) )*"
    r"(?:monitoring|adjustments?|precautions?)"
)
# Between "not" and its verb: "should not, under any circumstances, be combined".
_ASIDE = r"(?:, ?[^,.;]{1,60},| under any circumstances?)?"
HOURS_APART = (
    rf"(?:(?:must|should|may|can|shall|do) ?not{_ASIDE}|avoid)"
    r"(?: \w+){0,5} within (?:about |at least )?"
    r"[\w.]+(?:(?: (?:to|or) |-)[\w.]+)? ?(?:hours?|hrs?|h|minutes?|mins?)"
)
HARMS = (
    r"fatal\w*|lethal\w*|died|life[- ]threatening|deaths?|serious\w*|severe\w*|hemorrhag\w+"
    r"|haemorrhag\w+|bleeding|serotonin syndrome|torsades?|toxicity|rhabdomyolysis|coma"
    r"|cardiac arrest|cardiovascular collapse|heart block|asystole|hypertensive cris[ei]s"
    r"|ventricular (?:tachycardia|fibrillation|arrhythmias?)|anaphyla\w+|agranulocytosis"
    r"|respiratory (?:depression|arrest|failure)|(?:renal|kidney|hepatic|liver) failure"
    r"|acute kidney injury|lactic acidosis|neuroleptic malignant syndrome|hyperkala?emia"
    r"|QTc?(?:[- ]interval)?[- ]prolongation|prolong(?:s|ed|ing|ation of)? (?:the )?QTc?"
)
_RISK_OF = (
    r"(?:(?:an?|the|any|in|of|for|increased?|higher|greater|excess|additional|major|minor|risks?"
    r"|rates?|incidence|frequency|likelihood) )*"
)
_MUCH = r"(?:significantly|substantially|markedly|notably|appreciably|appear to|seem to) "
DENYING_HARM = (
    rf"(?:(?:did|does|do) not (?:{_MUCH})?"
    rf"(?:(?:increase|raise|cause|lead to|result in|produce) {_RISK_OF})?"
    rf"|(?:not (?:{_MUCH})?associated with|without|no) {_RISK_OF})"
    rf"(?:{HARMS})(?: (?:n?or )?(?:{HARMS}))*"
)
NOT_KNOWN = (
    r"whether|unknown|uncertain|unclear|not (?:\w+ )?(?:known|shown|established|proven|clear)"
)
# After a denial of the effect they say that there is one nevertheless.
CONTRASTS = r"but|although|though|however|yet|whereas|while|nevertheless"
CHANGES = (
    r"(?:increas|rais|ris|doubl|tripl|elevat|enhanc|potentiat|prolong|lower|decreas|reduc|fall"
    r"|inhibit|induc|impair|weaken)\w*|rose|fell"
)
SEVERITY_BY_WORDS: tuple[tuple[Severity, str], ...] = (
    (
        "contraindicated",
        r"contra[- ]?indicat\w+|prohibit\w*|forbid\w*|not (?:be )?(?:permitted|allowed)"
        r"|under no circumstances"
        rf"|(?:(?:must|should|may|can|shall) ?not{_ASIDE}|(?:must|should|can) never|not to) "
        r"(?:\w+ly )?"
        r"(?:be (?:\w+ly )?(?:co-?administered|administered|combined|co-?prescribed|prescribed"
        r"|given|taken|used|started|initiated|received|treated)"
        r"|receive|take|use|combine|be on)"
        r"|do not (?:combine|co-?administer|administer|prescribe|start|give|take|use)|never be",
    ),
    (
        "major",
        r"avoid(?:ed|ing)?|(?:not|cannot be) recommended|not advis(?:ed|able)|inadvisable"
        r"|unsafe|dangerous\w*|hazardous|not (?:be |been |considered |regarded as )*safe"
        r"|(?:must|should) (?:\w+ly )?be (?:\w+ly )?(?:stopped|discontinued|withdrawn|withheld)"
        rf"|{HARMS}",
    ),
    (
        "moderate",
        r"caution\w*|monitor\w*|adjust\w*|closely|reduc(?:e|ed|tion) (?:in|of) the dos\w+",
    ),
)
SEVERITY_BY_TYPE: Mapping[str, Severity] = {
    "advise": "moderate",
    "effect": "moderate",
    "mechanism": "moderate",
    "int": "unspecified",
}
ADVICE: Mapping[Severity, str] = {
    "contraindicated": "do_not_combine",
    "major": "avoid_or_monitor_closely",
    "moderate": "monitor",
    "unspecified": "ask_a_pharmacist",
    "minor": "no_action_needed",
}
_DENIAL = re.compile(rf"\b(?:{DENYING_EFFECT})\b", re.I)
_NO_ADVICE = re.compile(rf"\b(?:{DENYING_ADVICE}|{HOURS_APART})\b", re.I)
_NO_HARM = re.compile(rf"\b(?:{DENYING_HARM})\b", re.I)
_NOT_KNOWN = re.compile(rf"\b(?:{NOT_KNOWN})\b", re.I)
_NEVERTHELESS = re.compile(
    rf"\b(?:{DENYING_EFFECT})\b.*\b(?:{CONTRASTS})\b.*\b(?:{CHANGES})\b", re.I | re.S
)
_SEVERITIES: tuple[tuple[Severity, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"\b(?:{w})\b", re.I)) for name, w in SEVERITY_BY_WORDS
)
_SENTENCE_END = re.compile(r"[.!?;]\s+(?=[A-Z(\[])|\n+")


def respond(judgement: Pairs) -> dict[str, Any]:
    """The task's answer: pairs of a type other than `none`, the most severe first.

    `confidence` is the calibrated probability of the least certain pair's type; 0 if there is no
    pair, because then nothing was judged.
    """
    given = [(pair, _given(pair)) for pair in judgement.pairs]
    interactions = [
        _interaction(judgement.record["text"], pair, score)
        for pair, score in given
        if score.label != UNRELATED
    ]
    order = list(ADVICE)
    num_unjudged = math.comb(len(judgement.spans), 2) - len(judgement.pairs)
    interactions.sort(key=lambda i: (order.index(i["severity"]), -i["probability"]))
    return {
        "interactions": interactions,
        "drugs_found": [
            {"name": span.text, "start": span.start, "end": span.end} for span in judgement.spans
        ],
        "pairs_not_judged": num_unjudged,
        "recommendation": _recommendation(judgement.spans, interactions, num_unjudged),
        "confidence": round(min((score.probability for _, score in given), default=0.0), 6),
    }


def severity_of(kind: str, text: str) -> Severity:
    """How severe an interaction of a type is by the words of the sentences that state it."""
    stated = text if _NOT_KNOWN.search(text) else _NO_HARM.sub(" ", text)
    rest, num_denials = _DENIAL.subn(" ", _NO_ADVICE.sub(" ", stated))
    for severity, pattern in _SEVERITIES:
        if pattern.search(rest):
            return severity
    is_minor = num_denials and not _NEVERTHELESS.search(text)
    return "minor" if is_minor else SEVERITY_BY_TYPE.get(kind, "unspecified")


def _given(pair: PairScores) -> LabelScore:
    return next((score for score in pair.scores if score.is_given), pair.scores[0])


def _interaction(text: str, pair: PairScores, score: LabelScore) -> dict[str, Any]:
    return {
        "drug_a": pair.first.text,
        "drug_b": pair.second.text,
        "type": score.label,
        "severity": severity_of(score.label, _sentences(text, pair.first, pair.second)),
        "probability": round(score.probability, 6),
        "evidence": score.phrases(),
    }


def _sentences(text: str, first: Span, second: Span) -> str:
    """The sentences that hold two spans and what is between them."""
    start, end = min(first.start, second.start), max(first.end, second.end)
    before = [m.end() for m in _SENTENCE_END.finditer(text, 0, start)]
    after = _SENTENCE_END.search(text, end)
    return text[before[-1] if before else 0 : after.start() + 1 if after else len(text)]


def _recommendation(
    drugs: Sequence[Span], interactions: Sequence[Mapping[str, Any]], num_unjudged: int
) -> str:
    """That of the most severe interaction; no all-clear while a pair is not judged."""
    if interactions and (not num_unjudged or interactions[0]["severity"] != "minor"):
        return ADVICE[interactions[0]["severity"]]
    if len(drugs) > 1:
        return "not_all_pairs_judged" if num_unjudged else "no_interaction_stated"
    return "only_one_drug" if drugs else "no_known_drug"


# Of each type: sentences that state it of {a} and {b}.
STATING: Mapping[str, tuple[str, ...]] = {
    "advise": (
        "{a} should not be given together with {b}",
        "Caution is advised when {a} is started in patients on {b}",
        "The dose of {a} should be halved if {b} is added",
        "Patients who take {b} are best kept off {a}",
    ),
    "effect": (
        "{a} may enhance the sedation that {b} causes",
        "Bleeding was more frequent under {a} plus {b}",
        "The fall in blood pressure after {b} is deeper in the presence of {a}",
        "{a} weakens the pain relief of {b}",
    ),
    "int": (
        "An interaction of {a} with {b} has been described",
        "{a} is known to interact with {b}",
    ),
    "mechanism": (
        "{a} raised the plasma level of {b} by {n} percent",
        "{a} slows the clearance of {b} through CYP3A4",
        "The absorption of {b} falls by {n} percent when {a} is swallowed with it",
        "{a} displaces {b} from plasma proteins",
    ),
}
# Sentences of {a} and {b} that state no interaction in similar words.
DENYING = (
    "{a} did not change the plasma level of {b}",
    "{n} patients took {a} and {m} took {b}, in separate arms",
    "Bleeding was as frequent under {a} as under {b}",
    "No interaction of {a} with {b} was seen",
    "Neither {a} nor {b} is cleared through CYP3A4",
)
# Ends that name a third drug, which interacts with neither of the others.
ENDINGS = (
    "",
    "",
    "; {c} was given to the control group",
    ", whereas nothing of the kind is known of {c}",
    ", as tables {n} and {m} show",
)
DRUGS = (
    *(
        "amoxicillin",
        "atorvastatin",
        "carbamazepine",
        "cimetidine",
        "clarithromycin",
        "clopidogrel",
    ),
    *("cyclosporine", "diazepam", "digoxin", "fluconazole", "fluoxetine", "furosemide"),
    *("haloperidol", "ibuprofen", "ketoconazole", "levothyroxine", "lithium", "methotrexate"),
    *("metformin", "midazolam", "morphine", "omeprazole", "phenytoin", "propranolol"),
    *("rifampin", "sertraline", "simvastatin", "theophylline", "verapamil", "warfarin"),
)
_SLOT = re.compile(r"\{(\w)\}")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of sentences in documents of 10, whose interactions are known.

    60 % of the sentences state an interaction of {a} and {b} in words of STATING, all types alike;
    the others deny one in the words of DENYING. An ending of ENDINGS may name a third drug, whose
    pairs are all unrelated. Which drugs are named says nothing of the type: they are drawn apart.
    """
    draw = np.random.default_rng(seed)
    rows: dict[str, list[str]] = {"text": [], "document": [], "spans": [], "interactions": []}
    for row in range(num_rows):
        kind = str(draw.choice(TYPES)) if draw.random() < 0.6 else UNRELATED
        core = _pick(STATING[kind] if kind != UNRELATED else DENYING, draw)
        drugs = [str(drug) for drug in draw.choice(DRUGS, 3, replace=False)]
        numbers = [str(n) for n in draw.integers(2, 90, 2)]
        slots = dict(zip("abcnm", [*drugs, *numbers], strict=True))
        text, places = _filled(core + _pick(ENDINGS, draw) + ".", slots)
        spans = sorted((place, slot) for slot, place in places.items() if slot in "abc")
        order = [slot for _, slot in spans]
        pair = sorted((order.index("a"), order.index("b")))
        rows["text"].append(text)
        rows["document"].append(f"label-{row // SENTENCES_PER_DOCUMENT:05d}")
        rows["spans"].append(json.dumps([{"start": s, "end": e} for (s, e), _ in spans]))
        rows["interactions"].append(json.dumps([[*pair, kind]] if kind != UNRELATED else []))
    return pa.table(rows)


def _filled(template: str, slots: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """The template with its slots filled, and the characters that each slot takes."""
    text, places = "", dict[str, tuple[int, int]]()
    for number, part in enumerate(_SLOT.split(template)):
        word = slots[part] if number % 2 else part
        if number % 2:
            word = word.capitalize() if not text else word
            places[part] = (len(text), len(text) + len(word))
        text += word
    return text, places


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


DRUG_INTERACTION_DETECTION = Task(
    industry=IndustryType.HEALTHCARE,
    name="drug_interaction_detection",
    title="Drug interaction detection",
    description=(
        "The pairs of drugs that a text says interact, of which type, how severely by a stated "
        "rule, and by which words. It reads what a text states: a text that states no interaction "
        "does not mean that there is none."
    ),
    verb="check_interactions",
    family="text",
    head="pair",
    label="interactions",
    classes=(UNRELATED, *TYPES),
    negative_class=UNRELATED,
    group="document",
    fields=(
        Field(name="text", kind="text", description="a passage of a drug label or an article"),
        Field(
            name="spans",
            kind="spans",
            required=False,
            description="where drugs are named; left out, known names are looked for",
        ),
    ),
    answer={
        "interactions": {
            "type": "array",
            "description": "pairs of drugs that interact, the most severe first",
            "items": {
                "type": "object",
                "properties": {
                    "drug_a": {"type": "string"},
                    "drug_b": {"type": "string"},
                    "type": {
                        "type": "string",
                        "enum": list(TYPES),
                        "description": (
                            "advise: what to do; effect: what happens; mechanism: how levels "
                            "change; int: stated without more"
                        ),
                    },
                    "severity": {
                        "type": "string",
                        "enum": list(ADVICE),
                        "description": "by a keyword rule on the sentence, else by the type",
                    },
                    "probability": PROBABILITY,
                    "evidence": phrases_schema("phrases that speak for the type, strongest first"),
                },
            },
        },
        "drugs_found": {
            "type": "array",
            "description": "the drugs that were looked at",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "start": {"type": "integer"},
                    "end": {"type": "integer"},
                },
            },
        },
        "pairs_not_judged": {
            "type": "integer",
            "minimum": 0,
            "description": (
                "pairs of drugs_found that stand too far apart to be judged, of which the answer "
                "says nothing: send a shorter passage that names both"
            ),
        },
        "recommendation": {
            "type": "string",
            "enum": [
                *ADVICE.values(),
                "no_interaction_stated",
                "not_all_pairs_judged",
                "only_one_drug",
                "no_known_drug",
            ],
            "description": (
                "of the most severe interaction; no_action_needed and no_interaction_stated only "
                "if every pair was judged, else not_all_pairs_judged; the last two say that there "
                "was no pair to judge"
            ),
        },
        "confidence": probability_schema(
            "calibrated probability of the least certain pair's type; 0 if no pair was judged"
        ),
    },
    respond=respond,
    example={"text": "Warfarin should not be given together with ibuprofen."},
    sample=sample,
    metric="micro_f1",
    protected=ATTRIBUTES,
    compliance_checks=("data_licence_known", "classes_measured"),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    high_risk=True,
)
