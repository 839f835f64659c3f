"""The configuration in force, and the one in the files: loading, keeping, saying what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from margod import config
from margod.config import Config, Loaded, Sources
from margod.engine.policy import Policy
from margod.model import reasons
from margod.model.errors import ConfigError, MargodError
from margod.model.outcome import Step
from margod.shell.situation import Warned

log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line and the environment say."""

    sources: Sources
    env: Mapping[str, str]
    overrides: Mapping[str, str]


class Settings:
    """The configuration of a running daemon. A broken file never takes the place of what is in force."""

    def __init__(self, options: Options, loaded: Loaded) -> None:
        """Begin with what was loaded at the start."""
        self.options = options
        self.loaded = loaded
        self._started_with = loaded.config

    @property
    def config(self) -> Config:
        """What is in force."""
        return self.loaded.config

    @property
    def policy(self) -> Policy:
        """What the owner's settings tell the engine."""
        onboarding = self.config.onboarding
        asked = {Step.CONFIRM: onboarding.confirm, Step.REFRESH_TRUST: self.config.trust.refresh}
        upkeep = {step: interval for step, interval in asked.items() if interval}
        return Policy(
            forbidden_is_pending=onboarding.forbidden_means == "pending",
            reissue_on_conflict=onboarding.reissue_on_conflict,
            upkeep=upkeep,
            forgotten_after=onboarding.forgotten_after,
        )

    def load(self) -> tuple[str, list[str]]:
        """Read the files again; return `reloaded`, `unchanged` or `kept`, and the problems. May wait for a disk."""
        options = self.options
        try:
            loaded = config.load(options.sources, options.env, options.overrides)
        except ConfigError as error:
            self.loaded = replace(self.loaded, problems=error.problems)
            self.say_problems()
            return "kept", [str(problem) for problem in error.problems]
        changed = loaded.fingerprint != self.loaded.fingerprint or bool(self.loaded.problems)
        if self.loaded.problems and not loaded.problems:
            log.info("recovered", code=reasons.CONFIG_LAST_GOOD.code)
        self.loaded = loaded
        return "reloaded" if changed else "unchanged", self._fixed_at_start()

    def keep(self) -> None:
        """Store the configuration in force as the last good one; a disk that refuses is said and borne."""
        try:
            config.keep_last_good(self.loaded, self._started_with.state.directory)
        except MargodError as error:
            log.warning("configuration-not-kept", code=error.code, message=error.message, hint=error.hint)

    def warnings(self) -> tuple[Warned, ...]:
        """Return what status has to say about the configuration."""
        if not self.loaded.problems:
            return ()
        problems = "; ".join(str(problem) for problem in self.loaded.problems[:5])
        return (Warned(reasons.CONFIG_LAST_GOOD, f"{reasons.CONFIG_LAST_GOOD.says} {problems}"),)

    def say_problems(self) -> None:
        """Put each problem into the journal."""
        for problem in self.loaded.problems:
            log.error("configuration-problem", message=str(problem))
        if self.loaded.problems:
            said = reasons.CONFIG_LAST_GOOD
            log.warning("needs-attention", code=said.code, message=said.says, hint=said.hint)

    def _fixed_at_start(self) -> list[str]:
        """Return the settings that differ from those of the start and only count there."""
        old, new = self._started_with, self.config
        pairs = {
            "state.directory": (old.state.directory, new.state.directory),
            "local.directory": (old.local.directory, new.local.directory),
        }
        return [f"{key}: counts from the next start on" for key, (was, wanted) in pairs.items() if was != wanted]
