"""Checks the typed words before Hydra's argument parser sees them: extra dashes, bare words, braces without quotes.

`-precision=int8` is `-p recision=int8` to that parser, a flag that means nothing by itself, and the run would go on
without it. So every word is either a flag in full or KEY=VALUE here, or is refused with the line that was meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import again, habits, wiring
from pipeline.errors import ConfigError, Problem

ALONE = ("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m")
COMPLETION = ("--shell-completion", "-sc")
WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--experimental-rerun")
INFO = ("--info", "-i")
INFO_OF = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS = (*ALONE, *COMPLETION, *WITH_VALUE, *INFO)
# Flags of Hydra for programs that choose a whole configuration.
NOT_OURS = {
    "--config-path": ("--config-dir", "configurations of yours are added to those that ship"),
    "-cp": ("--config-dir", "configurations of yours are added to those that ship"),
    "--config-name": ("experiment", "every run begins with the same config.yaml"),
    "-cn": ("experiment", "every run begins with the same config.yaml"),
}
# The other commands, each with the module whose `main` it is.
COMMANDS = {name: f"pipeline.{name}" for name in ("doctor", "inspect", "models", "new", "pin", "reproduce", "trust")}
COMMANDS |= {name: f"pipeline.{name}.__main__" for name in ("report", "runs", "store")}
NUMBER_OF_BRACKETS = {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}


def refuse(typed: Sequence[str], keys: Sequence[str], conf: Path) -> None:
    """Raises ConfigError for each word that is no flag of ours and no KEY=VALUE, with the line that was meant.

    Args:
        typed: The words after the name of the program.
        keys: The keys of the configuration's top.
        conf: The folder of the shipped configurations.
    """
    if set(COMPLETION) & set(typed):
        return
    if typed and typed[0] in (*COMMANDS, "plan"):
        _refuse_command(typed[0], typed[1:])
    groups = [d.name for d in conf.iterdir() if d.is_dir() and d.name not in (wiring.GROUP, "hydra")]
    reading = _Reading({*keys, *groups}, conf)
    meant = reading.words(_rejoined(typed, reading.wrong))
    if reading.wrong:
        raise ConfigError([Problem("; ".join(dict.fromkeys(reading.wrong)), command=again.command(meant))])


def _refuse_command(name: str, rest: Sequence[str]) -> None:
    if name == "plan":
        raise ConfigError("plan is a key, not a command", command=again.command([*rest, "plan=true"]))
    line = again.command(rest).replace("python -m pipeline", f"python -m pipeline.{name}", 1)
    raise ConfigError(f"{name} is a command of its own", command=line)


def _rejoined(typed: Sequence[str], wrong: list[str]) -> list[str]:
    """The words, with those joined again that a shell split because quotes were missing."""
    words: list[str] = []
    for word in typed:
        key, sign, value = word.partition("=")
        before, _, earlier = words[-1].partition("=") if words else ("", "", "")
        part = r"[\w.]+:[^/].*"
        if words and "=" in words[-1] and _open(words[-1]) > 0:
            words[-1] += f" {word}"
            wrong.append(f"{words[-1].partition('=')[0]}=… has spaces, and no quotes around it")
        elif words and sign and key == before and (key == "also" or re.fullmatch(part, value)) and earlier:
            inner = earlier.strip("{[]}")
            form = "{{{}}}" if re.match(part, value) else "[{}]"
            words[-1] = f"{key}=" + form.format(f"{inner},{value.strip('[]')}").replace(":", ": ").replace(",", ", ")
            wrong.append(f"{key}= was typed more than once, or has braces and no quotes around it")
        elif words and word == "=" and re.fullmatch(r"[\w./@+~]+", words[-1]):
            words[-1] += "="
        elif words and re.fullmatch(r"[+~]*[\w./@]+=", words[-1]) and "=" not in word and not word.startswith("-"):
            words[-1] += word
            wrong.append(f"{words[-1].partition('=')[0]} = … has spaces around its =")
        elif words and word.startswith("=") and "=" not in words[-1] and not words[-1].startswith("-"):
            words[-1] += word
            wrong.append(f"{words[-1].partition('=')[0]} =… has a space before its =")
        else:
            words.append(word)
    return words


def _open(text: str) -> int:
    """How many brackets a text leaves open."""
    return sum(NUMBER_OF_BRACKETS.get(c, 0) for c in text)


class _Reading:
    """One command, read word by word.

    Args:
        keys: The keys and groups of the configuration's top.
        conf: The folder of the shipped configurations.
    """

    def __init__(self, keys: set[str], conf: Path) -> None:
        self._keys, self._conf = keys, conf
        self.wrong: list[str] = []

    def words(self, typed: Sequence[str]) -> list[str]:
        """The words that were meant, with flags moved to the front; fills `wrong`."""
        flags: list[str] = []
        overrides: list[str] = []
        split = False
        rest = list(typed)
        while rest:
            word = rest.pop(0)
            name = word.partition("=")[0]
            if word.startswith("-"):
                flags += self._flag(word, rest, overrides)
                split |= bool(overrides) and any(not w.startswith("-") for w in rest)
            elif "=" in word or name.startswith("~"):
                overrides.append(self._override(word))
            else:
                overrides += self._bare(word, flags)
        if set(flags) & {"--package", "-p"} and not any(f.partition("=")[0] in ("--cfg", "-c") for f in flags):
            self.wrong.append("-p, which is --package, says which part --cfg shows")
            flags = ["--cfg", "job", *flags]
        if split and not self.wrong:
            self.wrong.append(f"{flags[-1]} stands between KEY=VALUE and KEY=VALUE; flags come first")
        return [*flags, *overrides]

    def _flag(self, word: str, rest: list[str], overrides: list[str]) -> list[str]:
        """The flags that a word with dashes stands for; another word is added to the overrides."""
        name, sign, value = word.partition("=")
        if word in ALONE:
            return [word]
        if word in ("--package", "-p") and rest and "=" in rest[0]:
            self.wrong.append(f"{word} before {rest[0]} is a flag of its own, --package")
            return []
        if name in WITH_VALUE and (not sign or name.startswith("--")):
            return [word] if sign else [word, *([rest.pop(0)] if rest else [])]
        if name in INFO and (not sign or name.startswith("--")):
            if sign or (rest and rest[0] in INFO_OF):
                return [word] if sign else [word, rest.pop(0)]
            if rest and "=" in rest[0]:
                self.wrong.append(f"{name} takes {rest[0]} for its own value")
                return [name, "all"]
            return [name]
        if name in NOT_OURS:
            instead, why = NOT_OURS[name]
            argument = value or (rest.pop(0) if rest else "NAME")
            self.wrong.append(f"{name} is not for this program: {why}")
            if instead.startswith("-"):
                return [instead, argument]
            overrides.append(f"{instead}={Path(argument).stem}")
            return []
        return self._slip(word, rest, overrides)

    def _slip(self, word: str, rest: list[str], overrides: list[str]) -> list[str]:
        name, sign, value = word.partition("=")
        bare = name.lstrip("-")
        key = bare.replace("-", "_")
        if f"--{bare}" in FLAGS and not sign:
            self.wrong.append(f"there is no flag {word}, did you mean '--{bare}'?")
            return [f"--{bare}", *([rest.pop(0)] if f"--{bare}" in WITH_VALUE and rest else [])]
        if not sign and (habits.flag(key) or habits.LISTS.fullmatch(key)) and key not in self._keys:
            return self._suggest(word, habits.flag(key) or "--help", overrides)
        if not sign and rest and not rest[0].startswith("-") and "=" not in rest[0]:
            value, sign = rest.pop(0), "="
        key = self._key(key)
        if sign:
            return self._suggest(word, f"{key}={value}", overrides)
        if key in ("plan", "blame", "require_clean"):
            return self._suggest(word, f"{key}=true", overrides)
        if near := difflib.get_close_matches(f"--{bare}", [f for f in FLAGS if f.startswith("--")], n=1):
            self.wrong.append(f"there is no flag {word}, did you mean '{near[0]}'?")
            return [near[0]]
        self.wrong.append(f"there is no flag {word}")
        return ["--help"]

    def _suggest(self, word: str, meant: str, overrides: list[str]) -> list[str]:
        self.wrong.append(f"there is no flag {word}, did you mean '{meant}'?")
        if meant.startswith("-"):
            return [meant]
        overrides.append(meant)
        return []

    def _key(self, key: str) -> str:
        """The key that a flag's name stands for."""
        if key in self._keys or "." in key or "/" in key:
            return key
        return habits.key(key) or next(iter(difflib.get_close_matches(key, self._keys, n=1)), key)

    def _override(self, word: str) -> str:
        key, sign, value = word.partition("=")
        if value.startswith("=") and sign:
            self.wrong.append(f"{word} has one = too many")
            return f"{key}={value.lstrip('=')}"
        return word

    def _bare(self, word: str, flags: list[str]) -> list[str]:
        """The overrides that a word without = stands for."""
        key, _, value = word.partition(":")
        if value and key in self._keys:
            self.wrong.append(f"{word} is no KEY=VALUE")
            return [f"{key}={value.strip()}"]
        if word in (*COMMANDS, "plan"):
            self.wrong.append(f"{word} is no KEY=VALUE" + ("" if word == "plan" else "; the command comes first"))
            return ["plan=true"] if word == "plan" else []
        if habits.LISTS.fullmatch(word) or word in ("help", "version"):
            self.wrong.append(f"{word} is no KEY=VALUE")
            flags.append("--version" if word == "version" else "--help")
            return []
        self.wrong.append(f"{word} is no KEY=VALUE")
        if group := self._group_of(word):
            return [f"{group}={word}"]
        return habits.model(word) or []

    def _group_of(self, option: str) -> str | None:
        """The group that has an option of this name; if several have it, the one that is chosen first."""
        order = ("model", "target", "precision", "also", "experiment", "sweep", "capture", "route")
        return next((g for g in order if (self._conf / g / f"{option}.yaml").is_file()), None)
