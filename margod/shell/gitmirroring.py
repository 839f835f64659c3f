"""One poll of a repository: fetch its branch in a child process, see that it can be taken whole, and keep it.

Which access token is used, and which is kept, says protocols/token/access.py; a token is stored in the commit that
follows its first fetch, so that a kill leaves the old one or the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from margod.deployments.gittree import read_tree
from margod.deployments.mirror import Mirror
from margod.gitfetch import Failed as NotFetched
from margod.gitfetch import Fetched, Job, fetch
from margod.gitfetch import job as codes
from margod.model import reasons
from margod.model.errors import MargodError, StateUnusable
from margod.model.outcome import Kind, Outcome, Step
from margod.model.reasons import Reason
from margod.model.redact import hide
from margod.model.text import clean
from margod.model.wire import Answer
from margod.protocols import Context
from margod.protocols.signed.manifest import Unacceptable
from margod.protocols.token.access import NEXT, Accesses, Ask, Deed, Keep, Rest, Source, Try, changes, handed_over
from margod.protocols.token.credentials import GitAccess
from margod.protocols.token.generation import git_request, read_git_answer
from margod.protocols.token.origins import NotUsable
from margod.shell import gitplace
from margod.shell.mirrored import Failed, Found, Mirrored, refused

if TYPE_CHECKING:
    from pathlib import Path

    from margod.shell.courier import Courier
    from margod.shell.disk import Disk
    from margod.shell.ground import Ground
    from margod.shell.situation import Warned

log: Final = structlog.get_logger()

OK: Final = Outcome(Kind.ACCEPTED, reasons.ENROLLED)
NAMED: Final = 8
"""So many of the files that are left out are named in the journal."""
_REASONS: Final[Mapping[str, tuple[Kind, Reason]]] = {
    codes.UNREACHABLE: (Kind.UNREACHABLE, reasons.GIT_UNREACHABLE),
    codes.TIMED_OUT: (Kind.UNREACHABLE, reasons.GIT_UNREACHABLE),
    codes.UNTRUSTED: (Kind.BAD_ANSWER, reasons.GIT_UNTRUSTED),
    codes.UNAUTHORIZED: (Kind.BAD_ANSWER, reasons.GIT_TOKEN_REFUSED),
    codes.NOT_FOUND: (Kind.BAD_ANSWER, reasons.GIT_NOT_FOUND),
    codes.NO_BRANCH: (Kind.BAD_ANSWER, reasons.GIT_BRANCH_MISSING),
    codes.REDIRECTED: (Kind.BAD_ANSWER, reasons.GIT_MALFORMED),
    codes.BUSY: (Kind.BUSY, reasons.GIT_BUSY),
    codes.MALFORMED: (Kind.BAD_ANSWER, reasons.GIT_MALFORMED),
    codes.TOO_LARGE: (Kind.BAD_ANSWER, reasons.GIT_TOO_LARGE),
    codes.HOSTILE: (Kind.BAD_ANSWER, reasons.GIT_HOSTILE),
}


@dataclass(slots=True, eq=False)
class Handed:
    """A token that was handed over, and whom to tell. `seen`: a poll has begun since, `superseded`: another came."""

    access: GitAccess
    seen: bool = False
    superseded: bool = False
    answer: asyncio.Future[bool | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GitMirroring(Mirrored):
    """The mirror, brought up to date by the commits of a branch. `Held.etag` is the commit."""

    def __init__(self, courier: Courier, disk: Disk, ground: Ground) -> None:
        """Keep the mirror in the state directory of `ground`."""
        super().__init__(courier, disk, ground)
        self._accesses, self._accesses_for = Accesses(), ""
        self._fetching: asyncio.Task[Fetched | NotFetched] | None = None
        self._said: Outcome | None = None
        """What the WFM said in this poll."""
        self._why: Outcome | None = None
        """Why the last access that was tried in this poll is no good."""
        self._handed: list[Handed] = []
        """Those who wait to be told, in the order in which they came."""
        self._elsewhere = ""
        self._file = gitplace.TokenFile()

    @property
    def commit(self) -> str | None:
        """The commit that is mirrored."""
        return self.held.etag or None if self.held else None

    @property
    def wants_poll(self) -> bool:
        """Whether a token was handed over since the last poll began."""
        return any(not one.seen for one in self._handed)

    async def hand(self, url: str, token: str, expires_at: float | None) -> asyncio.Future[bool | None]:
        """Keep a token that a person hands over, to be proven by the next poll; `url` "": for the known repository.

        It is durable when this returns. The future tells whether it is taken; None: another one was handed over before
        it was tried, or while it could not be. Raises MargodError.
        """
        binding = self._courier.binding

        def keep() -> GitAccess:
            vault = self._ground.vault
            if vault is None or not binding or vault.binding != binding:
                raise MargodError(reasons.GIT_NOT_USED)
            situation = self._courier.situation
            access = gitplace.handed(self._ground, situation, vault.records, GitAccess(url, token, expires_at))
            self._ground.keep({NEXT: access.record()})
            return handed_over(vault.records) or access

        self._courier.hides(token)
        access = await self._disk.run(keep)
        log.info("git-token-handed-over")
        for one in tuple(self._handed):
            one.superseded = True
            if not one.seen:
                self._answer(one, None)
        waiting = Handed(access)
        self._handed.append(waiting)
        return waiting.answer

    def retry(self) -> None:
        """A person asks: what the file holds may be tried once more."""
        self._accesses.retry()

    async def open(self) -> None:
        """Open the mirror of the present enrolment; the first poll may be a while off, its token's file is seen now."""
        await self._disk.run(lambda: self._file.look(self._token_file))
        await super().open()

    @property
    def _token_file(self) -> Path | None:
        return self._ground.config.desired_state.git.token_file

    def token_file_changed(self) -> bool:
        """Return whether the file has another token than at the last poll. In the disk thread."""
        return self._file.changed(self._token_file)

    def warnings(self) -> tuple[Warned, ...]:
        """Return what is wrong with the file."""
        return self._file.warnings(self._token_file)

    def interrupt(self) -> None:
        """The enrolment is another one: a fetch under way is ended, and its process with it."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def poll(self, context: Context) -> Found:
        """Make one poll. Raises nothing but CancelledError."""
        self._for, self._said, self._why = self._courier.binding, None, None
        try:
            await self._begin()
            return Found(OK, self._said, changed=await self._poll(context))
        except Failed as failed:
            return Found(failed.outcome, self._said)
        except MargodError as error:
            return Found(Outcome(Kind.UNREACHABLE, error.reason, error.message, sent=False), self._said)
        finally:
            for one in [one for one in self._handed if one.seen]:  # not proven: whoever waits need not any longer
                if not one.superseded:
                    one.answer.cancel()
                self._answer(one, None)

    async def _begin(self) -> None:
        """Take in which tokens there are. Raises MargodError."""
        file = self._token_file
        if self._accesses_for != self._for:
            self._accesses, self._accesses_for = Accesses(), self._for

        def begin() -> None:
            token = self._file.read(file)
            if records := self._accesses.begin(self._records(), token, self._ground.keeper.wall()):
                self._ground.keep(records)

        for one in self._handed:
            one.seen = True
        await self._in_mirror(lambda _mirror: None)
        await self._disk.run(begin)
        self._courier.hides(*self._accesses.tokens())
        if self._accesses.elsewhere not in ("", self._elsewhere):
            code, detail = reasons.GIT_TOKEN_NOT_TAKEN.code, f"it belongs to {self._accesses.elsewhere}"
            log.warning("git-token-not-taken", source=Source.FILE.value, code=code, detail=detail)
        self._elsewhere = self._accesses.elsewhere

    async def _poll(self, context: Context) -> bool:
        """Fetch by one access after the other; return whether anything was taken. Raises Failed, MargodError."""
        while True:
            match self._accesses.next():
                case Ask():
                    await self._ask(context)
                case Rest():
                    raise Failed(self._rest())
                case Try() as trying:
                    fetched = await self._fetched(trying)
                    if fetched is not None:
                        await self._carry_out(self._accesses.worked())
                        return await self._take(fetched, trying)

    def _rest(self) -> Outcome:
        """Return why there is nothing to fetch by."""
        if self._why is not None:
            return self._why
        if self._said is not None and self._said.kind is not Kind.ACCEPTED:
            return self._said
        return refused(reasons.GIT_NOT_GIVEN, "")

    async def _ask(self, context: Context) -> None:
        """Ask the WFM for access to the repository."""
        result = await self._courier.call(git_request())
        generation, access = self._ground.generation, None
        said = generation.outcome(Step.CONFIRM, generation.forms(Step.CONFIRM)[0], context, result)
        # The route is margod's own: that a WFM does not have it says nothing of this device.
        self._said = None if said.kind is Kind.WRONG_ADDRESS else said
        if isinstance(result, Answer) and said.kind is Kind.ACCEPTED:
            try:
                access = read_git_answer(result)
            except NotUsable as error:
                self._why = self._why or refused(reasons.GIT_NOT_GIVEN, self._hidden(str(error)))
        self._accesses.given(access)
        self._courier.hides(*self._accesses.tokens())

    async def _fetched(self, trying: Try) -> Fetched | None:
        """Return what a fetch brings; None where the access is no good. Raises Failed where no other helps."""
        held, whole = self.held, self.whole
        known = held.etag if held else ""
        try:
            result = await self._fetch(trying.access, known if whole else "")
            if isinstance(result, Fetched) and known and not whole and result.commit != known:
                result = await self._fetch(trying.access, known)  # whether it leads back to what was here
        except NotUsable as error:
            await self._refused(refused(reasons.GIT_PLACE_REFUSED, self._hidden(str(error))))
            return None
        except (Failed, MargodError):
            self._accesses.failed()
            raise
        if isinstance(result, Fetched):
            return result
        kind, reason = _REASONS.get(result.code, (Kind.BAD_ANSWER, reasons.GIT_MALFORMED))
        detail = self._hidden(f"{trying.access.url}: {result.detail}")
        why = Outcome(kind, reason, clean(detail), retry_after=result.retry_after)
        if result.code == codes.UNAUTHORIZED:
            await self._refused(why)
        elif result.code == codes.NOT_FOUND:
            self._why = why
            self._accesses.absent()
        else:
            self._accesses.failed()
            raise Failed(why)
        return None

    def _hidden(self, text: str) -> str:
        """Return a text without any token: one may be part of its URL as well."""
        return hide(text, *self._accesses.tokens())

    async def _refused(self, why: Outcome) -> None:
        """The access is no good, and why; another one may be."""
        self._why = why
        await self._carry_out(self._accesses.refused(), why.detail)

    async def _fetch(self, access: GitAccess, known: str) -> Fetched | NotFetched:
        """Fetch in a child process, which `interrupt` ends. Raises NotUsable, Failed, MargodError."""
        situation = self._courier.situation
        if situation is None or situation.facts.binding != self._for:
            raise Failed(_unsent(reasons.NOT_ENROLLED))
        job: Job = await self._disk.run(partial(gitplace.job, self._ground, situation, access, known))
        if self._ground.keeper.downtime.closed:
            raise Failed(_unsent(reasons.DOWNTIME))
        if self._courier.binding != self._for:
            raise Failed(_unsent(reasons.NOT_ENROLLED))
        log.debug("git-fetch", url=self._hidden(access.url), branch=job.branch, known=known)
        task = self._fetching = asyncio.ensure_future(fetch(job))
        try:
            await asyncio.wait({task})
        finally:
            self._fetching = None
            if not task.done():
                task.cancel()
                await asyncio.wait({task})  # until the process is gone
        if task.cancelled():
            raise Failed(_unsent(reasons.NOT_ENROLLED))
        result = task.result()
        if isinstance(result, Fetched):
            log.debug("git-fetched", commit=result.commit, files=None if result.files is None else len(result.files))
        else:
            log.debug("git-not-fetched", code=result.code, detail=self._hidden(result.detail))
        return result

    async def _carry_out(self, deeds: Iterable[Deed], detail: str = "") -> None:
        """Keep and drop in the vault what has to be, and say so. Raises MargodError."""
        for deed in deeds:
            if deed.records:
                await self._disk.run(partial(self._keep, deed))
            if isinstance(deed, Keep):
                log.info("git-token-taken", source=deed.source.value)
            else:
                code = reasons.GIT_TOKEN_NOT_TAKEN.code
                log.warning("git-token-not-taken", source=deed.source.value, code=code, detail=detail)
            for one in [one for one in self._handed if deed.source is Source.HANDED and one.access == deed.access]:
                self._answer(one, isinstance(deed, Keep))

    def _answer(self, one: Handed, taken: bool | None) -> None:
        self._handed.remove(one)
        if not one.answer.done():
            one.answer.set_result(taken)

    def _keep(self, deed: Deed) -> None:
        if records := changes(deed, self._records()):
            self._ground.keep(records)

    def _records(self) -> Mapping[str, bytes]:
        """Return the vault's records, if they are still those of this poll. In the disk thread. Raises MargodError."""
        vault = self._ground.vault
        if vault is None or not self._for or vault.binding != self._for:
            raise StateUnusable(reasons.NOT_ENROLLED)
        return vault.records

    async def _take(self, fetched: Fetched, trying: Try) -> bool:
        """Make what was fetched what is mirrored; return whether it is another commit. Raises Failed, MargodError."""
        held = self.held
        if fetched.files is None:
            return False
        is_new = held is None or fetched.commit != held.etag
        if is_new and held is not None and fetched.rewound:
            self._look_at_rewound(held.etag, fetched.commit, self._hidden(trying.access.url))
        version = (held.manifest.version if held else 0) + (1 if is_new else 0)
        files = fetched.files
        try:
            tree = await self._disk.run(lambda: read_tree(files, version))
        except Unacceptable as error:
            raise Failed(refused(reasons.GIT_TREE_INVALID, self._hidden(f"{fetched.commit[:12]}: {error}"))) from None
        now = self._ground.keeper.wall()

        def take(mirror: Mirror) -> None:
            for one in mirror.missing(tree.manifest):
                mirror.put(one.digest, tree.texts[one.digest])
            if is_new:
                mirror.take(tree.manifest, fetched.commit, now)
            else:
                mirror.mended()

        await self._in_mirror(take)
        if not is_new:
            return True
        self._accepts_until = 0.0
        if fetched.rewound:
            log.warning("desired-state-accepted", version=version, commit=fetched.commit, security="yes")
        _say_left_out(tuple(map(self._hidden, (*(clean(path, 80) for path in tree.left_out), *fetched.notes))))
        log.info("desired-state", version=version, deployments=len(tree.manifest.deployments), commit=fetched.commit)
        return True

    def _look_at_rewound(self, mirrored: str, commit: str, url: str) -> None:
        """Raise Failed unless history may be another one."""
        if not self._accepts() and not self._ground.config.desired_state.git.allow_rewind:
            said = f"{url}: {commit[:12]} does not lead back to {mirrored[:12]}"
            raise Failed(refused(reasons.GIT_REWOUND, said))


def _say_left_out(names: tuple[str, ...]) -> None:
    """Put into the journal what of a commit is not taken."""
    if names:
        more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.info("desired-state-left-out", detail=f"{', '.join(names[:NAMED])}{more}")


def _unsent(reason: Reason) -> Outcome:
    return Outcome(Kind.UNREACHABLE, reason, sent=False)
