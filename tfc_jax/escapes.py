"""Text that others wrote, as a terminal may show it."""


def visible(text: str) -> str:
    r"""Returns the text on one line, with a visible escape for every character that is not printed.

    Such characters move the cursor, change colours or the clipboard, answer as if typed (ESC, C0,
    C1, DEL), turn the direction of what follows (U+202A-202E, U+2066-2069), hide, or cannot be
    encoded (lone surrogates, as in file names). ESC becomes the four characters \x1b.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def visible_lines(text: str) -> str:
    """Returns the same of a text whose line ends are meant."""
    return "\n".join(map(visible, text.split("\n")))


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
