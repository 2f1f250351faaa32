"""shardcts site BUNDLES… --out DIR: verified bundles beside each other, as static pages that need no server and no script.

index.html has a row for each product and version, and a column for each profile. Every bundle has a page, and so has
every function or rule of a profile, with all products beside each other. Each bundle is verified before it is shown.
"""
import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from shardcts_verify.profiles import Profile
from shardcts_verify.verify import Verified, verify

from .boundary import run_as_command
from .html import render_page
from .load import InputError
from .verdicts import VERDICTS, Verdict
from .write import write_files

MAX_BUNDLES = 200
MAX_LISTED = 200  # findings of a bundle on its page

CONFORMS = Verdict("conforms", "✓", "good", "The verifier has recomputed all verdicts, and all are green.")
WITH_WAIVERS = Verdict("conforms with waivers", "⚑", "warn", "The same, but for tests that its maker answers for.")
REFUSED = Verdict("does not conform", "✗", "bad", "The verifier has found something.")


@dataclass(eq=False)
class Shown:
    """A bundle on the site."""
    number: int
    file: str
    result: Verified

    @property
    def page(self) -> str:
        return f"bundle-{self.number}.html"

    @property
    def product(self) -> str:
        said = self.result.product
        return f"{said['name']} {said['version']}" if said else self.file

    @property
    def vendor(self) -> str:
        return self.result.product.get("vendor", "")

    @property
    def profile_name(self) -> str:
        profile = self.result.profile
        return f"{profile.name}@{profile.version}" if profile else "unknown"

    @property
    def level(self) -> str:
        return f"{self.result.profile.level}, {self.result.profile.device}" if self.result.profile else ""

    @property
    def fate(self) -> Verdict:
        if self.result.findings:
            return REFUSED
        return WITH_WAIVERS if self.result.waived else CONFORMS


@dataclass(eq=False)
class Function:
    """A function or rule of a profile: the tests that any of the bundles has."""
    profile: str
    name: str
    level: str | None
    tests: list[str]
    bundles: list[Shown]

    @property
    def page(self) -> str:
        return f"{file_name(self.profile)}-{file_name(self.name)}.html"

    def tally(self, bundle: Shown) -> list[tuple[Verdict, int]]:
        counts = Counter(bundle.result.outcomes[test] for test in self.tests if test in bundle.result.outcomes)
        return [(VERDICTS[name], counts[name]) for name in VERDICTS if counts[name]]

    def variant(self, test: str) -> str:
        return test.rpartition("/")[2]

    def verdict(self, test: str, bundle: Shown) -> Verdict | None:
        return VERDICTS.get(bundle.result.outcomes.get(test, ""))


def file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:120]


def read_bundles(paths: list[Path]) -> list[Shown]:
    if not 1 <= len(paths) <= MAX_BUNDLES:
        raise InputError(f"{len(paths)} bundles: 1 to {MAX_BUNDLES} are shown")
    return [Shown(number, path.name, verify(path)) for number, path in enumerate(paths, 1)]


def functions_of(bundles: list[Shown]) -> list[Function]:
    """By profile and version, in the order of its list; of bundles that conform."""
    functions: dict[tuple[str, str], Function] = {}
    for bundle in bundles:
        profile: Profile | None = bundle.result.profile
        for name in bundle.result.outcomes:
            test = profile.tests[name]
            key = (bundle.profile_name, test.function)
            function = functions.setdefault(key, Function(*key, test.level, [], []))
            if name not in function.tests:
                function.tests.append(name)
            if bundle not in function.bundles:
                function.bundles.append(bundle)
    return list(functions.values())


def matrix_of(bundles: list[Shown]) -> tuple[list[str], list[tuple[str, str, dict[str, list[Shown]]]]]:
    """The profiles, and for each product and version its bundles by profile."""
    profiles = sorted({bundle.profile_name for bundle in bundles})
    rows: dict[tuple[str, str], dict[str, list[Shown]]] = {}
    for bundle in bundles:
        rows.setdefault((bundle.product, bundle.vendor), {}).setdefault(bundle.profile_name, []).append(bundle)
    return profiles, [(*key, cells) for key, cells in sorted(rows.items(), key=lambda item: item[0])]


def render(bundles: list[Shown]) -> dict[str, str]:
    """The pages by their names."""
    functions = functions_of(bundles)
    profiles, rows = matrix_of(bundles)
    values = {"fates": (CONFORMS, WITH_WAIVERS, REFUSED), "verdicts": VERDICTS}
    pages = {"index.html": _page("site_index.html.j2", values | {"profiles": profiles, "rows": rows, "functions": functions})}
    for bundle in bundles:
        own = [function for function in functions if bundle in function.bundles]
        pages[bundle.page] = _page("site_bundle.html.j2", values | {"bundle": bundle, "functions": own, "max_listed": MAX_LISTED})
    for function in functions:
        pages[function.page] = _page("site_function.html.j2", values | {"function": function})
    return pages


def _page(template: str, values: dict) -> str:
    return render_page(template, ["page.css", "site.css"], [], values)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="shardcts site", description="Shows verified bundles beside each other.")
    parser.add_argument("bundles", type=Path, nargs="+", help="files of shardcts certify")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pages")
    options = parser.parse_args(arguments)
    pages = render(read_bundles(options.bundles))
    write_files(options.out, {name: text.encode("utf-8", "replace") for name, text in pages.items()})
    print(options.out / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(run_as_command(main))
