"""``captioner models``: what is installed."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from captioner.errors import BundleError


def add(commands: Any) -> None:
    """The command, which has no arguments."""
    models = commands.add_parser("models", help="installed bundles, their licences and limits")
    models.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints each bundle's card."""
    from captioner.bundle import installed, open_bundle

    places = installed()
    if not places:
        print("No bundles are installed. Set CAPTIONER_BUNDLES or export one.")
    for place in places:
        try:
            bundle = open_bundle(place)
        except BundleError as error:
            print(f"{place.name}: {error}", file=sys.stderr)
            continue
        print(f"{bundle.name}@{bundle.version}  ({bundle.task})")
        for title, text in bundle.card.items():
            print(f"  {title}: {text if isinstance(text, str) else '; '.join(map(str, text))}")
    return 0
