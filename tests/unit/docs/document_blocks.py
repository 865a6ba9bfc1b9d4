"""The documents and their fenced blocks: the first word after the fence is the language, the others say what it is.

python file=NAME      saved by the reader under this name (ts, toml alike)
python run            executed
sh run                executed, in order; `until=WORD`: again and again, until it prints that
sh background=NAME    started, and left running until the next of that name
sh                    only checked, command by command
text output           what the block before has printed; `...` stands for anything
text message          a sentence of the product
json message=KIND     a message of the protocol: `request`, `action`
json answer=SHAPE     an answer of the HTTP API
json webhook          what receivers of outbound webhooks are sent

`needs=PROGRAM` leaves a block out where there is no such program; `checkout` runs it in the repository's folder.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)

_BLOCK = re.compile(r"^```(?P<info>\S[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, its words (`run` is there with an empty value), its text."""

    document: str
    line: int
    language: str
    words: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, those that a backslash continues joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def blocks_of(document: str) -> list[Block]:
    text = text_of(document)
    found = []
    for match in _BLOCK.finditer(text):
        language, *words = match["info"].split()
        pairs = dict(word.partition("=")[::2] for word in words)
        found.append(Block(document, text.count("\n", 0, match.start()) + 1, language, pairs, match["text"]))
    return found


def all_blocks(*languages: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks_of(document) if block.language in languages]


def prose_of(document: str) -> str:
    """The document without its fenced blocks."""
    return _BLOCK.sub("", text_of(document))
