"""Text of our own data in Markdown pages: code spans stay, nothing else is taken for markup."""
import re


def prose(text: str) -> str:
    """Text outside code spans, with the characters that Markdown would take for markup escaped."""
    pieces = text.split("`")
    pieces[::2] = [_escape(piece) for piece in pieces[::2]]
    return "`".join(pieces)


def cell(text: str) -> str:
    """The same in a table."""
    return prose(text).replace("|", "\\|")


def _escape(text: str) -> str:
    # Underscores inside a word are no markup.
    return re.sub(r"[\\*<\[]|(?<![^\W_])_+|_+(?![^\W_])", lambda found: "".join("\\" + c for c in found[0]), text)
