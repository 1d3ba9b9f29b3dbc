"""`sidecar policy check`: what a policy file sets, or the line that is wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from governance.cli.exits import Failure
from governance.cli.places import OUT, POLICY, AsJson, print_json
from governance.policy_file import read_policy
from governance.policy_settings import settings

app = typer.Typer(help="Look at the policy file.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="[PATH]", help=f"The policy file; else {POLICY} here.")]


@app.command()
def check(path: File = Path(POLICY), as_json: AsJson = False) -> None:
    """Print everything that is in force by a policy file, defaults included; exit with 2 where the file is wrong.

    The error names the line. Graphs that go by the file keep their old policy for as long as it is wrong.
    """
    if path.is_dir():
        raise Failure(f"{path} is a directory; name the policy file in it")
    policy = read_policy(path)
    found = settings(policy)
    if as_json:
        print_json({"path": str(path), "digest": policy.digest, "settings": found})
        return
    OUT.print(f"{path} is good; its digest is {policy.digest}", markup=False)
    for key, value in found.items():
        OUT.print(f"  {key} = {value!r}", markup=False)
