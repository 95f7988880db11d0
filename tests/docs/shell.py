"""The commands in a block of shell: what a user would type, one list of words each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

# They run what follows them, after options of their own.
WRAPPERS = {"apptainer", "docker", "env", "mpiexec", "mpirun", "podman", "srun", "time"}
SEPARATORS = {
    ";",
    "&&",
    "||",
    "|",
    "&",
    "(",
    ")",
    "do",
    "then",
    "else",
    "done",
    "fi",
    "{",
    "}",
    "if",
    "while",
    "!",
    "$",
}


def commands(text: str, known: set[str]) -> Iterator[list[str]]:
    """Every call of a known program, however it is wrapped.

    Args:
        text: a block.
        known: names of the programs.
    """
    for words in simple_commands(text):
        start = next((i for i, word in enumerate(words) if not re.match(r"[A-Za-z_]\w*\+?=", word)), len(words))
        rest = words[start:]
        if rest and rest[0] in WRAPPERS:
            inner = next((i for i, word in enumerate(rest) if word in known), len(rest))
            rest = rest[inner:]
        if rest and rest[0] in known:
            yield rest


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, without redirections, comments and here-documents."""
    text = re.sub(r"<<-?\s*(['\"]?)(\w+)\1(.*?)\n.*?^\2$", r"\3", text, flags=re.DOTALL | re.MULTILINE)
    text = text.replace("\\\n", " ")
    text = re.sub(r"(?m)(^|\s)#.*$", "", text)
    lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for token in lexer:
        if skip:  # what a redirection names
            skip = False
        elif set(token) <= set("<>&") and set(token) & set("<>"):
            skip = True
            if words and words[-1].isdigit():
                words.pop()
        elif token in SEPARATORS or set(token) <= set(";&|()"):
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def without_variables(word: str) -> str:
    """A word as the shell might hand it on: variables are a number."""
    return re.sub(r"\$(\{[^}]*\}|\w+)", "1", word)
