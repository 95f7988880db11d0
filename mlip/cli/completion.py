"""``mlip completion``: what a shell needs to complete the commands of this project."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping, Sequence

_PROGRAMS = {
    "nequip-compile": "mlip.cli.compile",
    "nequip-package": "mlip.cli.package",
    "nequip-prepare-lmp-mliap": "mlip.cli.prepare_lmp_mliap",
}
_TRAIN = ["-cn", "-cp", "--check", "--cfg", "--hydra-help", "--debug", "--help"]  # Hydra's, which has no parser to ask

_BASH = """\
_mlip_words() {{
    case "$1" in
{cases}
    esac
}}
_mlip_complete() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" key="${{COMP_WORDS[0]##*/}}" last="" word words index
    for ((index = 1; index < COMP_CWORD; index++)); do
        last="${{COMP_WORDS[index]}}"
        if [[ "$last" != -* && -n "$(_mlip_words "$key $last")" ]]; then key="$key $last"; fi
    done
    words="$(_mlip_words "$key $last")"
    if [[ "$last" != -* || -z "$words" ]]; then
        words=""
        for word in $(_mlip_words "$key"); do
            if [[ "$current" == -* || "$word" != -* ]]; then words="$words $word"; fi
        done
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _mlip_complete {programs}
"""
_ZSH = """\
#compdef {programs}
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
_FISH = """\
function __mlip_words
    switch "$argv[1]"
{cases}
    end
end
function __mlip_complete
    set -l words (commandline -opc)
    set -l key (basename -- $words[1])
    set -l last ""
    for word in $words[2..-1]
        set last $word
        if not string match -q -- '-*' $word; and test (count (__mlip_words "$key $word")) -gt 0
            set key "$key $word"
        end
    end
    if string match -q -- '-*' $last; and test (count (__mlip_words "$key $last")) -gt 0
        __mlip_words "$key $last"
    else
        __mlip_words $key
    end
end
for program in {programs}
    complete -c $program -a '(__mlip_complete)'
end
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``mlip completion``."""
    p = argparse.ArgumentParser(
        prog="mlip completion",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print a script that lets a shell complete commands and options with the tab key.",
        epilog='bash:  eval "$(mlip completion bash)"       in ~/.bashrc\n'
        'zsh:   eval "$(mlip completion zsh)"        in ~/.zshrc\n'
        "fish:  mlip completion fish > ~/.config/fish/completions/mlip.fish",
    )
    p.add_argument("shell", choices=["bash", "zsh", "fish"])
    return p


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; ``args`` are the command line's by default."""
    print(script(parser().parse_args(args).shell), end="")


def script(shell: str) -> str:
    """The script for ``bash``, ``zsh`` or ``fish``."""
    table = words()
    programs = " ".join(name for name in table if " " not in name)
    if shell == "fish":
        cases = "\n".join(
            f'        case "{key}"\n            printf "%s\\n" {" ".join(found)}' for key, found in table.items()
        )
        return _FISH.format(cases=cases, programs=programs)
    cases = "\n".join(f'        "{key}") echo "{" ".join(found)}" ;;' for key, found in table.items())
    bash = _BASH.format(cases=cases, programs=programs)
    return bash if shell == "bash" else _ZSH.format(programs=programs) + bash


def words() -> Mapping[str, list[str]]:
    """What may follow: by program, subcommand, and option that has choices."""
    from mlip.cli.main import COMMANDS, available

    table = {"mlip": [*available(), "--help", "--version"], "nequip-train": _TRAIN}
    modules = {f"mlip {name}": COMMANDS[name][0] for name in available()} | _PROGRAMS
    for command, module in modules.items():
        loaded = importlib.import_module(module)
        table |= dict(_of_parser(command, loaded.parser())) if hasattr(loaded, "parser") else {}
    return table | {"mlip train": _TRAIN}


def _of_parser(command: str, known: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    found: list[str] = []
    for action in known._actions:  # noqa: SLF001 - argparse has no public way to ask
        found += [option for option in action.option_strings if option.startswith("--")]
        choices = [str(choice) for choice in action.choices or ()]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for name, inner in action.choices.items():
                yield from _of_parser(f"{command} {name}", inner)
        elif action.option_strings:
            yield from ((f"{command} {option}", choices) for option in action.option_strings if choices)
            continue
        found += choices
    yield command, sorted(set(found))


if __name__ == "__main__":
    main()
