"""A check that recomputes the arithmetic in an answer to a word problem; it needs nothing of hyperguild.

The answer is read from stdin; exit 0 passes it, exit 1 prints what is wrong, one fault a line. It knows
neither the question nor the right answer. An answer is refused where

- an equation in it does not hold;
- it breaks off: in a calculation, in a number, or in a sentence;
- the number that it ends with is negative or not whole (grade school problems ask how many, or for
  dollars that come out even: a rule for such problems, not for all);
- no calculation in it yields that number.

It is meant to be started as `python3 -S -E check_arithmetic.py`, and imports little: most of the time of
such a check is that of starting Python.
"""

from __future__ import annotations

import re
import sys

FAULTS_MAX = 5
UNIT_WORDS_MAX = 5
"""Words between a number and the operator after it that are still taken for its unit."""

READINGS = ((False, False), (True, False), (False, True), (True, True))
"""How an expression may be meant: `20%` as 0.2 rather than 20, `12 / 2/5` as 12 / (2/5) rather than 1.2."""

SCALES = (1.0, 100.0, 0.01)
"""Percent for shares, cents for dollars: 0.2 * 100 = 20%, 5 * 25 = $1.25."""

SPELLINGS = (
    (r"(?m)^[^\S\n]*[-*•][^\S\n]+", ""),
    (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"\\(?:times|cdot)\b|\\?[*×⋅·]", "*"),
    (r"\\div\b|÷", "/"),
    (r"[−–]", "-"),
    (r"≈|\\approx\b", "~"),
    (r"\\?[$€£]|\\[()\[\]]|\*\*", ""),
    (r"(?<=[\w%)])\s+[xX]\s+(?=[\d(])|(?<=\d)[xX](?=\d)", " * "),
)
"""Other ways to write an operator, and what stands around numbers without meaning anything to them."""

DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)|\d*\.?\d+"
TOKEN = re.compile(
    rf"(?P<number>{DIGITS})(?P<glued>[A-Za-z](?![A-Za-z]))?|(?P<percent>%)|(?P<operator>[-+*/()=~])"
    r"|(?P<word>[A-Za-z][\w'’]*)|(?P<stop>\S|\n)"
)
ANNOTATION = re.compile(r"<<([^<>]*)>>")
"""A calculation as GSM8K marks it: `<<48/2=24>>24`."""

ANSWER_LINE = re.compile(r"####[^\S\n]*(.*)|\\boxed\{(.*)\}|\banswer\s*(?:is|:|=)\s*(.*)", re.IGNORECASE)
NUMBER = re.compile(rf"(?P<minus>-\s*)?[$€£]?\s*(?P<digits>{DIGITS})")


class Unreadable(Exception):
    """What stands there is no expression of numbers."""


class Token:
    """A number, percent sign, operator or `stop`; `tight` says that nothing stands before it, `places` how
    many decimals a number is written with."""

    __slots__ = ("kind", "places", "text", "tight", "value")

    def __init__(self, kind: str, text: str, tight: bool) -> None:
        self.kind = kind
        self.text = text
        self.tight = tight
        self.value = float(text.replace(",", "")) if kind == "number" else 0.0
        self.places = len(text.partition(".")[2]) if kind == "number" else 0


class Expression:
    """Calculates one reading of tokens, by recursive descent. Raises `Unreadable`."""

    def __init__(self, tokens: list[Token], percent: bool, fractions: bool) -> None:
        self.tokens = tokens
        self.percent = percent
        self.fractions = fractions
        self.at = 0

    def value(self) -> float:
        """Return the value of all the tokens."""
        value = self.total()
        if self.at < len(self.tokens):
            raise Unreadable
        return value

    def total(self) -> float:
        """Read terms that are added."""
        value = self.product()
        while self.next_is("+-"):
            operator = self.take()
            value = value + self.product() if operator == "+" else value - self.product()
        return value

    def product(self) -> float:
        """Read factors; one in parentheses needs no sign before it."""
        value = self.fraction()
        while self.next_is("*/("):
            operator = "*" if self.next_is("(") else self.take()
            factor = self.fraction()
            value = value * factor if operator == "*" else divided(value, factor)
        return value

    def fraction(self) -> float:
        """Read a number, or one over another written without a space, where that binds closer."""
        value = self.signed()
        while self.fractions and self.next_is("/") and self.tokens[self.at].tight:
            self.take()
            value = divided(value, self.signed())
        return value

    def signed(self) -> float:
        """Read a number or parentheses, with a sign before them and a percent sign after."""
        if self.next_is("-"):
            self.take()
            return -self.signed()
        if self.next_is("("):
            self.take()
            value = self.total()
            if not self.next_is(")"):
                raise Unreadable
            self.take()
        elif self.at < len(self.tokens) and self.tokens[self.at].kind == "number":
            value = self.tokens[self.at].value
            self.at += 1
        else:
            raise Unreadable
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "percent":
            self.at += 1
            return value / 100 if self.percent else value
        return value

    def next_is(self, operators: str) -> bool:
        """Tell whether one of these operators comes next."""
        return (
            self.at < len(self.tokens)
            and self.tokens[self.at].kind == "operator"
            and self.tokens[self.at].text in operators
        )

    def take(self) -> str:
        """Pass over the next token, and return it."""
        self.at += 1
        return self.tokens[self.at - 1].text


class Side:
    """One side of an equation: what is written, and what it may come to."""

    def __init__(self, tokens: list[Token], values: list[float]) -> None:
        self.tokens = tokens
        self.values = values
        self.places = max((token.places for token in tokens), default=0)

    @property
    def calculates(self) -> bool:
        """Whether it is more than a number."""
        return any(token.kind == "operator" and token.text in "+-*/" for token in self.tokens[1:])

    def __str__(self) -> str:
        return " ".join(token.text for token in self.tokens)


class Equation:
    """`left = right`; `about` where it is written with another sign than that."""

    def __init__(self, left: Side, right: Side, about: bool) -> None:
        self.left = left
        self.right = right
        self.about = about

    @property
    def holds(self) -> bool:
        """Whether some reading of both sides makes them equal, as far as the right one is written out.

        Of a running calculation, `6 * 6 = 36 / 12 = 3`, the first equation holds by the number it goes on
        with.
        """
        goes_on = [token.value for token in self.right.tokens[:1] if self.right.calculates]
        return any(
            same(left * scale, right, self.right.places, self.about)
            for left in self.left.values
            for right in self.right.values + goes_on
            for scale in SCALES
        )


def main() -> int:
    """Check the answer on stdin; return the exit code."""
    found = faults(sys.stdin.buffer.read().decode("utf-8", "replace"))
    for fault in found[:FAULTS_MAX]:
        sys.stdout.write(fault + "\n")
    return 1 if found else 0


def faults(answer: str) -> list[str]:
    """Return what is wrong with the arithmetic of an answer; empty where nothing is."""
    text = spelled(answer)
    body = ANNOTATION.sub("", text)
    known = [stretch for part in [*ANNOTATION.findall(text), body] for stretch in sides_of(part)]
    found = [
        f"{equation.left} is {equation.left.values[0]:.10g}, not {equation.right}"
        for equation in equations(known)
        if not equation.holds
    ]
    if breaks_off(answer):
        return [*found, "the answer breaks off before its end; finish the calculation and state the result"]
    final = final_number(body)
    if final is None:
        return [*found, "the answer ends without a number; state the result as a number"]
    value, places = final
    if value < 0 or value != int(value):
        found.append(f"the result, {value:.10g}, is no whole number; calculate again")
    if not any(yields(stretch, value, places) for stretch in known):
        found.append(f"no calculation in the answer yields its result, {value:.10g}")
    return found


def spelled(answer: str) -> str:
    """Return the answer with its operators spelled one way."""
    for pattern, plain in SPELLINGS:
        answer = re.sub(pattern, plain, answer)
    return answer


def breaks_off(answer: str) -> bool:
    """Tell whether the answer stops in a calculation, in a number or in a sentence."""
    if answer.rfind("<<") > answer.rfind(">>"):
        return True
    lines = answer.strip().splitlines()
    last = lines[-1].strip().rstrip("*_`\"'") if lines else ""
    line = ANSWER_LINE.search(last)
    if line is not None and NUMBER.search(line.group()):
        return False
    return not last.endswith((".", "!", "?", ")", "\\]"))


def final_number(body: str) -> tuple[float, int] | None:
    """Return the number that the answer comes to, and its decimals: the first one of its last answer line,
    else the last one of all."""
    lines = [line.group() for line in ANSWER_LINE.finditer(body)]
    for line in lines[-1:]:
        for match in NUMBER.finditer(line):
            return signed_number(line, match)
    numbers = list(NUMBER.finditer(body))
    return signed_number(body, numbers[-1]) if numbers else None


def signed_number(text: str, match: re.Match[str]) -> tuple[float, int]:
    """Return a number and its decimals; a minus after another number is an operator, not a sign."""
    token = Token("number", match["digits"], tight=False)
    negative = match["minus"] and not re.search(r"[\d)]\s*$", text[: match.start()])
    return (-token.value if negative else token.value), token.places


def yields(stretch: list[Side | str | None], value: float, places: int) -> bool:
    """Tell whether a calculation comes to the value, or to a number that may be rounded to it."""
    sides = [side for side in stretch if isinstance(side, Side)]
    return any(side.calculates for side in sides) and any(
        same(one * scale, value, places, about=False) or (value == int(value) and abs(one - value) < 1)
        for side in sides
        for one in side.values
        for scale in SCALES
    )


def sides_of(text: str) -> list[list[Side | str | None]]:
    """Return each stretch of calculation in a text: its sides, None for one that cannot be read, and the
    signs between them."""
    found = []
    for run in runs(less_units(tokens_of(text))):
        parts: list[list[Token]] = [[]]
        sides: list[Side | str | None] = []
        for token in run:
            if token.kind == "operator" and token.text in "=~":
                parts.append([])
            else:
                parts[-1].append(token)
        signs = [token.text for token in run if token.kind == "operator" and token.text in "=~"]
        for index, part in enumerate(parts):
            # Text may stand before the first side and after the last one, not between two signs.
            starts = range(len(part) if index == 0 else 1)
            ends = range(len(part), 0, -1) if index == len(parts) - 1 else [len(part)]
            choices = [part[start:end] for start in starts for end in ends if start < end]
            sides.append(None if index == 0 and torn(part) else readable(choices))
            sides.extend(signs[index : index + 1])
        found.append(sides)
    return found


def torn(part: list[Token]) -> bool:
    """Tell whether a side begins in the middle of an expression, after something that is no number."""
    return bool(part) and part[0].kind == "operator" and part[0].text in "+-*/"


def equations(stretches: list[list[Side | str | None]]) -> list[Equation]:
    """Return the equations whose two sides can be read, but for those that only convert a unit."""
    found = []
    for sides in stretches:
        for left, sign, right in zip(sides[::2], sides[1::2], sides[2::2], strict=False):
            if isinstance(left, Side) and isinstance(right, Side) and (left.calculates or right.calculates):
                found.append(Equation(left, right, sign == "~"))
    return found


def tokens_of(text: str) -> list[Token]:
    """Split a text; a letter right after a number, or alone, is a variable, and stops what stands there."""
    tokens = []
    end = 0
    for match in TOKEN.finditer(text):
        tight = match.start() == end
        end = match.end()
        kind = match.lastgroup or "stop"
        is_letter = kind == "word" and len(match.group()) == 1 and match.group() not in "aA"
        tokens.append(Token("stop" if kind == "glued" or is_letter else kind, match.group(), tight))
    return tokens


def less_units(tokens: list[Token]) -> list[Token]:
    """Leave out what names a unit: words after a number, `/ guest`, and remarks in parentheses."""
    kept: list[Token] = []
    at = 0
    while at < len(tokens):
        end = remark_end(tokens, at)
        if end > at:
            at = end
            continue
        end = unit_end(tokens, at)
        if end == at:
            kept.append(tokens[at])
            at += 1
            continue
        follows = tokens[end] if end < len(tokens) else None
        after_number = kept and (kept[-1].kind in ("number", "percent") or kept[-1].text == ")")
        before_operator = follows is not None and follows.kind == "operator" and follows.text != "("
        if not (after_number and before_operator and end - at <= UNIT_WORDS_MAX):
            kept.append(Token("stop", tokens[at].text, tight=False))
        at = end
    return kept


def unit_end(tokens: list[Token], start: int) -> int:
    """Return where words that begin at `start`, slashes before words among them, end."""
    at = start
    while at < len(tokens):
        if tokens[at].kind == "word":
            at += 1
        elif tokens[at].text == "/" and at + 1 < len(tokens) and tokens[at + 1].kind == "word":
            at += 2
        else:
            break
    return at


def remark_end(tokens: list[Token], start: int) -> int:
    """Return where a remark that begins at `start` ends: parentheses that begin with a word."""
    if tokens[start].text != "(" or start + 1 >= len(tokens) or tokens[start + 1].kind != "word":
        return start
    for at in range(start + 1, len(tokens)):
        if tokens[at].text in ("(", "=", "\n"):
            return start
        if tokens[at].text == ")":
            return at + 1
    return start


def runs(tokens: list[Token]) -> list[list[Token]]:
    """Return the stretches of tokens between stops."""
    stretches: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind in ("stop", "word"):
            stretches.append([])
        else:
            stretches[-1].append(token)
    return [stretch for stretch in stretches if stretch]


def readable(choices: list[list[Token]]) -> Side | None:
    """Return the first of the choices that is an expression."""
    for tokens in choices:
        values = []
        for percent, fractions in READINGS:
            try:
                values.append(Expression(tokens, percent, fractions).value())
            except (Unreadable, RecursionError):
                continue
        if values:
            return Side(tokens, values)
    return None


def divided(value: float, divisor: float) -> float:
    """Divide. Raises `Unreadable` for 0."""
    if divisor == 0:
        raise Unreadable
    return value / divisor


def same(one: float, other: float, places: int, about: bool) -> bool:
    """Tell whether two numbers are equal, as far as the other is written out; whole numbers must be exact."""
    exact = max(abs(one) * 1e-6, 1e-9)
    if places or about:
        exact = max(exact, 0.51 * 10.0**-places)
    return abs(one - other) <= exact


if __name__ == "__main__":
    sys.exit(main())
