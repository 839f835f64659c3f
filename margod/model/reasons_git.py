"""The reasons that have to do with a desired state in Git (`token` generation); read them as `reasons.X`."""

from __future__ import annotations

from margod.model.reason import Side
from margod.model.reason import reason as _reason

GIT_NOT_GIVEN = _reason(
    "git-not-given",
    Side.WFM,
    "The WFM has named no Git repository for this device yet; it is asked again at the polling rate.",
    "Nothing needs doing here; if it stays so, have the WFM's operator set the repository up.",
)
GIT_PLACE_REFUSED = _reason(
    "git-place-refused",
    Side.WFM,
    "The WFM names a Git repository at a place to which this device sends no secrets.",
    "If the detail's host is right, list it in token.allowed_hosts and run `margod reload`; if not, ask who said it.",
)
GIT_UNREACHABLE = _reason(
    "git-unreachable",
    Side.NETWORK,
    "The Git server cannot be reached, or the fetch broke off; anything mirrored before stays.",
    "Check the network, any proxy (wfm.proxy) and the firewall between this device and the Git server.",
)
GIT_UNTRUSTED = _reason(
    "git-untrusted",
    Side.WFM,
    "The Git server's certificate is not vouched for, so no token was sent there.",
    "At another host than the WFM's, trust.token_endpoint_ca_file names the root CA; otherwise trust.* counts.",
)
GIT_TOKEN_REFUSED = _reason(
    "git-token-refused",
    Side.WFM,
    "The Git server refuses the access token, and there is no other one; anything mirrored before stays.",
    "The WFM is asked for another at each poll. Or give one: `margod git-token set`, or desired_state.git.token_file.",
)
GIT_TOKEN_NOT_TAKEN = _reason(
    "git-token-not-taken",
    Side.WFM,
    "The Git server refuses the new access token; the one before stays in use.",
    "Compare token and repository with whoever gave the token; `margod git-token set` takes another.",
)
GIT_TOKEN_ENDED = _reason(
    "git-token-ended",
    Side.DEVICE,
    "The access token that was handed over has ended already, by the time that was given with it.",
    "Hand over one that still holds, or without --expires-at; `margod clock show` says what this device's clock says.",
)
GIT_NOT_FOUND = _reason(
    "git-not-found",
    Side.WFM,
    "There is no such Git repository, or the access token may not see it; anything mirrored before stays.",
    "Have the WFM's operator compare the repository with the one in the detail.",
)
GIT_BRANCH_MISSING = _reason(
    "git-branch-missing",
    Side.WFM,
    "The Git repository is empty or has no such branch; anything mirrored before stays.",
    "Have the branch made there, or set desired_state.git.branch. That nothing is wanted is a commit without files.",
)
GIT_BUSY = _reason("git-busy", Side.WFM, "The Git server is busy or has an error of its own, and is asked again later.")
GIT_MALFORMED = _reason(
    "git-malformed",
    Side.WFM,
    "What answers in the Git server's place is no Git repository, or breaks its rules; anything mirrored before stays.",
    "Compare the repository's address with the WFM's operator; a proxy or portal with a page of its own does this too.",
)
GIT_TOO_LARGE = _reason(
    "git-too-large",
    Side.WFM,
    "The desired state in Git is larger than this device takes; anything mirrored before stays.",
    "Have what does not belong to this device's deployments taken out of the branch; see the bounds in the detail.",
)
GIT_HOSTILE = _reason(
    "git-hostile",
    Side.WFM,
    "The Git repository holds names that no honest tool makes; nothing was taken, anything mirrored before stays.",
    "Find out who may write to the repository, and look at the commit there.",
)
GIT_TREE_INVALID = _reason(
    "git-tree-invalid",
    Side.WFM,
    "The files in Git cannot be deployments of this device; nothing was taken, anything mirrored before stays.",
    "Each deployment is a file <id>.yaml, ids of letters, digits and . _ ~ -, no id twice; mend what the detail names.",
)
GIT_REWOUND = _reason(
    "git-rewound",
    Side.WFM,
    "The history in Git was rewritten: the branch does not lead back to the commit that is mirrored here.",
    "Nothing was taken. Find out who pushed by force; then `margod deployments accept`, or for always "
    "desired_state.git.allow_rewind.",
)
GIT_NOT_USED = _reason(
    "git-not-used",
    Side.DEVICE,
    "This device has no desired state in Git that a token could be for.",
    "Git is used with wfm.protocol: token, once the device is enrolled.",
)
GIT_TOKEN_FILE_UNUSABLE = _reason(
    "git-token-file-unusable",
    Side.DEVICE,
    "The file of desired_state.git.token_file has no access token that can be read.",
    "Write the token alone on one line, 1 to 8192 printable characters; the user margod has to be able to read it. "
    "A symbolic link has to be root's or that user's.",
)
