"""Write docs/reference/configuration.md from the table of settings.

`python docs/generate_configuration.py` writes it; with `--check` it writes nothing and exits 1 where it is not current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import fill
from typing import Final

from pages import keep

from scichain_wf.config import SETTINGS, Config

PAGE: Final = Path(__file__).parent / "reference" / "configuration.md"
_HEAD: Final = """\
# Configuration

Nothing has to be configured. What can be, comes from these places; the first that says something counts:

1. a flag of the command line (`--chain`, or `--logger-scichain-chain` under Snakemake),
2. an environment variable, `SCICHAIN_` and the setting's name in capitals (`SCICHAIN_NODES=3`),
3. the project's file: `scichain.toml`, or `pyproject.toml` with a table `[tool.scichain]`, in the workflow's directory
   or the nearest one above it that has one,
4. the user's file: `$XDG_CONFIG_HOME/scichain/config.toml` (`~/.config/scichain/config.toml` without that variable),
5. the default.

`scichain-wf config show --origin` prints what holds here and which of these says so. An unknown setting, or a value
that is not as expected, is an error with file and line (exit code 2): nothing misspelled is silently without effect.

```toml
# scichain.toml
nodes = 3
chain = "/srv/project/chain"
```
"""


def page() -> str:
    """The page's text."""
    lines = [_HEAD]
    for setting in SETTINGS:
        default = getattr(Config(), setting.name)
        shown = "none" if default is None else f"`{json.dumps(default)}`"
        takes = f"Takes {setting.expects}. Default: {shown}. Variable: `SCICHAIN_{setting.name.upper()}`."
        lines += [f"## `{setting.name}`", "", fill(setting.meaning, 120), "", fill(takes, 120), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
