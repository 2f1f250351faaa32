"""Changes of C++ sources at random: places where a small change compiles, most of the time.

A place is found by tokens, without a compiler: binary operators are spaced as clang-format spaces them, so that `<` of a
template is none. What does not compile is left out later (build_mutants.py).
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

TOKEN = re.compile(
    r"""(?P<skip>//[^\n]*|/\*.*?\*/|^[ \t]*\#[^\n]*|\s+)
      |(?P<string>R"(?P<mark>\w*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])+')
      |(?P<number>\d[\w.]*)
      |(?P<name>[A-Za-z_]\w*)
      |(?P<sign><=>|<<=|>>=|->\*|\.\.\.|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE)

OPENING, CLOSING = "([{", ")]}"
# Binary operators from loose to tight: those of one row bind alike.
LEVELS = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))
SWAPS = {"||": "&&", "&&": "||", "==": "!=", "!=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+",
         "*": "/", "/": "*", "%": "/"}
CLASS_OF = {**dict.fromkeys(("||", "&&"), "logical"), **dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), "relational"),
            **dict.fromkeys(("+", "-", "*", "/", "%"), "arithmetic")}
ENDS_OF_EXPRESSIONS = {",", ";", "?", ":", "=", "<<", ">>", "return", "+=", "-=", "*=", "|=", "&="}
KEYWORDS = {"if", "for", "while", "switch", "case", "default", "return", "throw", "using", "namespace", "struct", "class",
            "enum", "template", "public", "private", "protected", "static", "const", "constexpr", "auto", "try", "catch",
            "else", "do", "explicit", "virtual", "friend", "typedef", "extern", "inline", "operator"}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    begin: int

    @property
    def end(self):
        return self.begin + len(self.text)


@dataclass(frozen=True)
class Candidate:
    """Text from `begin` to `end` becomes `replacement`; `shown` is the change as a person reads it."""

    kind: str
    begin: int
    end: int
    replacement: str
    shown: str
    statement: bool = False


def tokens_of(text):
    return [Token(match.lastgroup if match.lastgroup != "mark" else "string", match.group(), match.start())
            for match in TOKEN.finditer(text) if match.lastgroup != "skip"]


class Source:
    """The candidates of one file."""

    def __init__(self, text):
        self.text = text
        self.tokens = tokens_of(text)
        self.partner = self._partners()

    def candidates(self):
        found = []
        for i in range(1, len(self.tokens) - 1):
            for find in (self._operator, self._number, self._truth, self._condition, self._dropped, self._extreme,
                         self._end_of_list, self._returned):
                candidate = find(i)
                if candidate:
                    found.append(candidate)
        return found

    def _partners(self):
        partner, open_ones = {}, []
        for i, token in enumerate(self.tokens):
            if token.text in OPENING:
                open_ones.append(i)
            elif token.text in CLOSING and open_ones:
                partner[i] = open_ones.pop()
                partner[partner[i]] = i
        return partner

    def _between(self, first, last):
        return self.text[self.tokens[first].begin:self.tokens[last].end]

    def _has_string(self, first, last):
        return any(token.kind == "string" for token in self.tokens[first:last + 1])

    def _is_binary(self, i):
        token, before = self.tokens[i], self.tokens[i - 1]
        spaced = self.text[token.begin - 1].isspace() and self.text[token.end].isspace()
        return spaced and (before.kind in ("name", "number") and before.text not in KEYWORDS or before.text in ")]")

    def _operands(self, i):
        """The first and the last token of the expression that this operator, or one that binds alike, is the root of."""
        level = next(k for k, row in enumerate(LEVELS) if self.tokens[i].text in row)
        looser = {sign for row in LEVELS[:level] for sign in row} | ENDS_OF_EXPRESSIONS
        first = i - 1
        while True:
            if self.tokens[first].text in CLOSING:
                first = self.partner.get(first, first)
            before = self.tokens[first - 1]
            if before.text in looser or before.text in OPENING:
                break
            first -= 1
        last = i + 1
        while True:
            if self.tokens[last].text in OPENING:
                last = self.partner.get(last, last)
            after = self.tokens[last + 1]
            if after.text in looser or after.text in CLOSING:
                break
            last += 1
        return first, last

    def _operator(self, i):
        sign = self.tokens[i].text
        if sign not in SWAPS or not self._is_binary(i):
            return None
        first, last = self._operands(i)
        if self._has_string(first, last) or self.tokens[first].text in KEYWORDS:
            return None
        begin, end = self.tokens[first].begin, self.tokens[last].end
        changed = self.text[begin:self.tokens[i].begin] + SWAPS[sign] + self.text[self.tokens[i].end:end]
        return Candidate(CLASS_OF[sign], begin, end, changed, f"{self.text[begin:end]}  →  {changed}")

    def _number(self, i):
        token = self.tokens[i]
        if token.kind != "number" or not token.text.isdigit() or self.tokens[i - 1].text in ("<", "-"):
            return None
        if "constexpr" in self._line(token.begin):
            return None
        changed = str(int(token.text) - 1 if int(token.text) > 0 else 1)
        return Candidate("constant", token.begin, token.end, changed, f"{self._line(token.begin)}: {token.text}  →  {changed}")

    def _truth(self, i):
        token = self.tokens[i]
        if token.text not in ("true", "false") or "=" in (self.tokens[i - 1].text, self.tokens[i - 2].text):
            return None
        changed = "false" if token.text == "true" else "true"
        return Candidate("constant", token.begin, token.end, changed, f"{self._line(token.begin)}: {token.text}  →  {changed}")

    def _condition(self, i):
        if self.tokens[i - 1].text not in ("if", "while") or self.tokens[i].text != "(" or i not in self.partner:
            return None
        first, last = i + 1, self.partner[i] - 1
        inside = [token.text for token in self.tokens[first:last + 1]]
        if "=" in inside or ";" in inside or not inside:
            return None
        condition = self._between(first, last)
        return Candidate("negated", self.tokens[first].begin, self.tokens[last].end, f"!({condition})",
                         f"if ({condition})  →  if (!({condition}))")

    def _statement_end(self, i):
        """The semicolon of the statement that begins at token i; None if it is none that can be left out."""
        k = i
        while k < len(self.tokens) and self.tokens[k].text != ";":
            if self.tokens[k].text in OPENING:
                k = self.partner.get(k, len(self.tokens))
            elif self.tokens[k].text in CLOSING:
                return None
            k += 1
        return k if k < len(self.tokens) else None

    def _dropped(self, i):
        token, before = self.tokens[i], self.tokens[i - 1]
        begins = before.text in (";", "{", "}", "else") or before.text == ")" and self._is_head_of_if(i - 1)
        if not begins or token.kind != "name" or not self._is_in_function(i):
            return None
        end = self._statement_end(i)
        if end is None:
            return None
        statement = self._between(i, end)
        if token.text in ("continue", "break") or statement == "return;":
            pass
        elif token.text == "throw":
            if self.tokens[end + 1].text == "}" and self.tokens[end + 2].text == "}":
                return None
        elif token.text in KEYWORDS or not self._is_call_or_assignment(i, end):
            return None
        return Candidate("dropped", token.begin, self.tokens[end].end, "", f"{statement}  →  (nothing)", True)

    def _is_head_of_if(self, closing):
        opening = self.partner.get(closing)
        return opening is not None and self.tokens[opening - 1].text in ("if", "for", "while")

    def _is_in_function(self, i):
        """Whether the innermost brace around it follows a parenthesis or a keyword of statements."""
        depth = 0
        for k in range(i - 1, 0, -1):
            if self.tokens[k].text in CLOSING:
                depth += 1
            elif self.tokens[k].text in OPENING:
                if depth == 0:
                    return self.tokens[k].text == "{" and self.tokens[k - 1].text in (
                        ")", "else", "const", "try", "override", "noexcept", "do", "}")
                depth -= 1
        return False

    def _is_call_or_assignment(self, i, end):
        """A chain of names that is called, assigned or incremented, and no declaration."""
        k = i
        while k < end:
            if self.tokens[k].text in "([":
                k = self.partner[k] + 1
                if k == end:
                    return True
            elif self.tokens[k].text in (".", "->", "::"):
                k += 1
            elif self.tokens[k].kind == "name" and self.tokens[k - 1].kind != "name":
                k += 1
            else:
                return self.tokens[k].text in ("=", "+=", "-=", "*=", "|=", "&=", "++", "--") and k > i
        return False

    def _extreme(self, i):
        token = self.tokens[i]
        if token.text not in ("min", "max") or self.tokens[i - 1].text != "::" or i + 1 not in self.partner:
            return None
        first, last = i - 2, self.partner[i + 1]
        if self.tokens[i + 1].text != "(":
            return None
        other = "max" if token.text == "min" else "min"
        call = self._between(first, last)
        changed = call.replace(token.text, other, 1)
        return Candidate("extreme", self.tokens[first].begin, self.tokens[last].end, changed, f"{call}  →  {changed}")

    def _end_of_list(self, i):
        token = self.tokens[i]
        if token.text not in ("front", "back") or self.tokens[i - 1].text not in (".", "->") or self.tokens[i + 1].text != "(":
            return None
        first, last = i - 2, self.partner[i + 1]
        while True:
            if self.tokens[first].text in ")]":
                first = self.partner[first] - 1
            elif self.tokens[first - 1].text in (".", "->", "::"):
                first -= 2
            else:
                break
        other = "back" if token.text == "front" else "front"
        chain = self._between(first, last)
        changed = f"{self.text[self.tokens[first].begin:token.begin]}{other}()"
        return Candidate("end of a list", self.tokens[first].begin, self.tokens[last].end, changed, f"{chain}  →  {changed}")

    def _returned(self, i):
        if self.tokens[i].text != "return" or self.tokens[i + 1].text == ";" or not self._is_in_function(i):
            return None
        end = self._statement_end(i)
        statement = self._between(i, end) if end else ""
        if not statement or self._has_string(i, end) or self.tokens[i + 1].text in "{[":
            return None
        if statement in ("return false;", "return nullptr;", "return std::nullopt;", "return 0;"):  # no other values
            return None
        return Candidate("returned", self.tokens[i].begin, self.tokens[end].end, "return {};", f"{statement}  →  return {{}};", True)

    def _line(self, place):
        begin = self.text.rfind("\n", 0, place) + 1
        end = self.text.find("\n", place)
        return self.text[begin:end].strip()


def draw(sources, count, seed, is_left_out):
    """`count` mutants of the files below `sources`, all kinds alike: name, what they change, and where."""
    by_kind = {}
    for file in sorted(Path(sources).rglob("*.cc")):
        name = file.relative_to(sources).as_posix()
        if is_left_out(file):
            continue
        text = file.read_text()
        for candidate in Source(text).candidates():
            by_kind.setdefault(candidate.kind, []).append((name, text, candidate))
    generator = random.Random(seed)
    for kind in sorted(by_kind):
        generator.shuffle(by_kind[kind])
    drawn = []
    while len(drawn) < count and any(by_kind.values()):
        for kind in sorted(by_kind):
            if by_kind[kind] and len(drawn) < count:
                drawn.append(as_mutant(f"r{len(drawn):04}", *by_kind[kind].pop()))
    return drawn


def as_mutant(name, file, text, candidate):
    line = text.count("\n", 0, candidate.begin) + 1
    return {"name": name, "models": candidate.kind, "breaks": f"{file}:{line}: {' '.join(candidate.shown.split())}",
            "change": [{"file": file, "offset": candidate.begin, "original": text[candidate.begin:candidate.end],
                        "replacement": candidate.replacement,
                        "kind": "statement" if candidate.statement else "expression"}]}
