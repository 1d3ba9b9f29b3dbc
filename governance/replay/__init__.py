"""Replay: a recorded session run again offline, with every model and every tool answering as it did."""

from governance.replay.divergence import Divergence, Replayed
from governance.replay.recording import Recording, from_file, from_ledger, to_file
from governance.replay.run import replay

__all__ = ["Divergence", "Recording", "Replayed", "from_file", "from_ledger", "replay", "to_file"]
