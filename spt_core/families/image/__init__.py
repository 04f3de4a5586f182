"""Images: as a whole, with the places that an answer rests on."""
