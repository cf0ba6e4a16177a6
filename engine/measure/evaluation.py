"""The text that quality is judged on: Edgewise's own, or the user's."""

from engine.errors import InputError
from engine.texts import read_text

REMEDY = "Name a UTF-8 text of some hundred words that is like what the model will read, or take “ours”."
LEAST_CHARACTERS = 200


def read_evaluation(path: str) -> str:
    """The text. Raises InputError for one that is missing, no text, too large, or too short to say anything."""
    text = read_text(path, "evaluation", REMEDY)
    if (length := len(text.strip())) < LEAST_CHARACTERS:
        why = f"It has {length} characters; at least {LEAST_CHARACTERS} are needed."
        raise InputError("The evaluation text is too short to judge a model on.", why, REMEDY)
    return text
