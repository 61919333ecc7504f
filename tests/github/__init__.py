"""A stateful stand-in for GitHub's REST API, held against GitHub's own description: see README.md."""

from tests.github.server import Standin
from tests.github.service import Logged
from tests.github.state import Repository, State

__all__ = ["Logged", "Repository", "Standin", "State"]
