"""Tables as the commands print them: the first column words, the others numbers unless told otherwise."""

from collections.abc import Collection

from rich import box
from rich.table import Table


def table(first: str, *rest: str, words: Collection[int] = ()) -> Table:
    """Return an empty table.

    Args:
        first: Heading of the first column, which is always words.
        rest: Headings of the others.
        words: Numbers of the other columns that are words; 1 is the first of `rest`.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, name in enumerate((first, *rest)):
        made.add_column(name, justify="left" if number == 0 or number in words else "right", overflow="fold")
    return made
