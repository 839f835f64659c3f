"""Why margod is in the state that it is in: one table of stable codes, in the words that every surface shows.

A reason says what happened, whose side it is on, and what a person can do. The journal, `margod status`, systemd's
STATUS line and the README's troubleshooting table all take their words from here.
"""

from __future__ import annotations

from margod.model.reason import *  # noqa: F403 - Reason, REASONS and Side are read from here
from margod.model.reason import Side
from margod.model.reason import reason as _reason

# Well and working.
STARTING = _reason("starting", Side.NONE, "Reading the configuration and the stored state.")
ASKING = _reason("asking", Side.NONE, "Asking the WFM to onboard this device.")
FETCHING_CA = _reason("fetching-ca", Side.NONE, "Downloading the WFM's root CA.")
CONFIRMING = _reason("confirming", Side.NONE, "Asking the WFM whether it knows this device by the id it had before.")
REPORTING = _reason("reporting", Side.NONE, "The WFM has accepted this device; reporting its capabilities.")
ENROLLED = _reason("enrolled", Side.NONE, "This device is enrolled.")

# Waiting for a person at the WFM.
PENDING_APPROVAL = _reason(
    "pending-approval",
    Side.WFM,
    "The WFM has the request and waits for a person to approve this device.",
    "Approve the device in the WFM; compare the certificate's fingerprint with `margod identity show`.",
)
NOT_APPROVED_YET = _reason(
    "not-approved-yet",
    Side.WFM,
    "The WFM answers 403, which onboarding.forbidden_means: pending reads as not approved yet.",
    "Approve the device in the WFM; compare the certificate's fingerprint with `margod identity show`.",
)
REJECTED = _reason(
    "rejected",
    Side.WFM,
    "The WFM refuses this device: not trusted, rejected, or not approved yet.",
    "Approve the device or upload its certificate (`margod identity export`) in the WFM; margod keeps asking.",
)

# The configuration.
NO_URL = _reason(
    "no-url",
    Side.DEVICE,
    "No WFM is configured.",
    "Set wfm.url in the configuration and run `margod reload`, or start with --url or MARGOD_WFM_URL.",
)
NO_WFM_FOUND = _reason(
    "no-wfm-found",
    Side.NETWORK,
    "No WFM is configured, and none announces itself on the local network; margod keeps looking.",
    "Set wfm.url in the configuration and run `margod reload`, or see what `margod discover` finds.",
)
SEVERAL_WFMS = _reason(
    "several-wfms",
    Side.DEVICE,
    "Several WFMs announce themselves on the local network; margod does not guess, and sends nothing to any.",
    "Choose one by `margod discover --use NAME` or wfm.select, or set wfm.url.",
)
WFM_NOT_SEEN = _reason(
    "wfm-not-seen",
    Side.NETWORK,
    "The WFM that was chosen by name does not announce itself on the local network; margod keeps looking.",
    "Compare the name with what `margod discover` finds, or set wfm.url.",
)
NOT_CHOSEN = _reason(
    "not-chosen",
    Side.DEVICE,
    "The WFM was not chosen.",
    "See what `margod discover` finds, and wfm.url and wfm.select in `margod config show`.",
)
DISCOVERED_UNVERIFIABLE = _reason(
    "discovered-unverifiable",
    Side.DEVICE,
    "A WFM was found, but nothing says which host name its certificate has to bear, so nothing is sent.",
    "Set discovery.server_names; or trust.ca_is_wfm_only: true with a root CA that vouches for WFMs only; or wfm.url.",
)
CONFIG_INVALID = _reason(
    "config-invalid",
    Side.DEVICE,
    "The configuration has errors.",
    "Run `margod config check`, mend what it names, then `margod reload`.",
)
CONFIG_LAST_GOOD = _reason(
    "config-last-good",
    Side.DEVICE,
    "The configuration has errors; margod runs on the last good one.",
    "Run `margod config check`, mend what it names, then `margod reload`.",
)
WFM_CHANGED = _reason(
    "wfm-changed",
    Side.DEVICE,
    "The configured WFM is not the one that this device is enrolled with; margod goes there at its next look.",
    "If that is not meant, set it back: the old enrolment is kept and taken up again. See docs/operations.md, Moving.",
)

# Trust in the WFM.
from margod.model.reasons_trust import *  # noqa: E402, F403 - here, so that the table keeps its order

# The network and the server's answers.
DNS_FAILED = _reason(
    "dns-failed",
    Side.NETWORK,
    "The WFM's host name cannot be resolved.",
    "Check the host in wfm.url, the network cable and the name servers (`resolvectl status`, /etc/resolv.conf).",
)
CONNECT_REFUSED = _reason(
    "connect-refused",
    Side.NETWORK,
    "The WFM's host refuses the connection.",
    "Check the port in wfm.url and that the WFM runs.",
)
CONNECT_FAILED = _reason(
    "connect-failed",
    Side.NETWORK,
    "The WFM's host cannot be reached.",
    "Check the network, the route and the firewall between this device and the WFM.",
)
TIMED_OUT = _reason(
    "timed-out",
    Side.NETWORK,
    "The WFM did not answer in time.",
    "Check the network and the firewall between this device and the WFM; see wfm.timeout.",
)
CONNECTION_LOST = _reason(
    "connection-lost",
    Side.NETWORK,
    "The connection broke before the answer was complete.",
    "Check the network, and any proxy or firewall on the way to the WFM.",
)
TLS_FAILED = _reason(
    "tls-failed",
    Side.NETWORK,
    "The TLS handshake failed.",
    "Check that the port in wfm.url speaks TLS; a captive portal or a proxy on the way also looks like this.",
)
from margod.model.reasons_proxy import *  # noqa: E402, F403 - here, so that the table keeps its order

ANSWER_TOO_LARGE = _reason(
    "answer-too-large",
    Side.WFM,
    "The answer was larger than margod reads, and was dropped.",
    "Check wfm.url; what answers there does not look like a WFM.",
)
ANSWER_MALFORMED = _reason(
    "answer-malformed",
    Side.WFM,
    "What answered does not speak HTTP as it should.",
    "Check wfm.url and any proxy on the way.",
)
ANSWER_INVALID = _reason(
    "answer-invalid",
    Side.WFM,
    "The WFM's answer counts as success but holds no usable client id.",
    "Check wfm.url; a captive portal or a proxy's own page looks like this.",
)
REDIRECTED = _reason(
    "redirected",
    Side.WFM,
    "The WFM's address answers with a redirect, which margod does not follow.",
    "Write the final address into wfm.url; a captive portal also looks like this.",
)
WFM_BUSY = _reason("wfm-busy", Side.WFM, "The WFM is busy and asks to come again later.")
WFM_ERROR = _reason("wfm-error", Side.WFM, "The WFM reports an error of its own.", "Look at the WFM's log.")
ANSWER_UNEXPECTED = _reason(
    "answer-unexpected",
    Side.WFM,
    "The WFM answered in a way that the specification does not know.",
    "See what the server said; check wfm.url and wfm.protocol.",
)

# The WFM says no.
CERTIFICATE_REFUSED = _reason(
    "certificate-refused",
    Side.WFM,
    "The WFM calls this device's certificate or request invalid.",
    "See what the server said; compare `margod identity show` with what the WFM demands, or set wfm.dialect.",
)
SIGNATURE_REFUSED = _reason(
    "signature-refused",
    Side.WFM,
    "The WFM does not accept this device's signature.",
    "Compare this device's clock (`date`) with the WFM's; a balancer that rewrites the address also does this.",
)
WRONG_ADDRESS = _reason(
    "wrong-address",
    Side.DEVICE,
    "There is no onboarding at this address: a wrong URL, or a WFM of another generation.",
    "Compare wfm.url, with its path prefix, with the address that the WFM's operator gives.",
)
REGISTERED_BY_OTHER = _reason(
    "registered-by-other",
    Side.WFM,
    "The WFM says that this certificate is registered, but this device never got a client id for it.",
    "In the WFM, look who registered it. Then: `margod reset` (new certificate), `margod reset --new-identity` (new "
    "key too), or remove that entry there and `margod retry`.",
)
CLIENT_UNKNOWN = _reason(
    "client-unknown",
    Side.WFM,
    "The WFM does not know this device's client id, or has no such route.",
    "Look for the client id of `margod status` in the WFM.",
)
CLIENT_REFUSED = _reason(
    "client-refused",
    Side.WFM,
    "The WFM does not trust this device any more.",
    "Look for the client id of `margod status` in the WFM: it may have been revoked.",
)
FORGOTTEN = _reason(
    "forgotten",
    Side.WFM,
    "The WFM has said for long enough (onboarding.forgotten_after), on two routes, that it does not know this device.",
    "Have the WFM's database restored: margod goes on asking; or `margod reset`, to be onboarded anew.",
)
REVOKED = _reason(
    "revoked",
    Side.WFM,
    "The WFM has said for long enough (onboarding.forgotten_after), on two routes, that it will not have this device.",
    "Ask the WFM's operator whether the device was revoked; margod goes on asking. `margod reset` onboards it anew.",
)
CAPABILITIES_REFUSED = _reason(
    "capabilities-refused",
    Side.WFM,
    "The WFM does not accept the capabilities that this device reports.",
    "See what the server said, set the device.* value it names in the configuration, then `margod reload`.",
)

# This device: state directory and identity.
STATE_NOT_WRITABLE = _reason(
    "state-not-writable",
    Side.DEVICE,
    "The state directory cannot be written, so nothing that must be remembered is asked for.",
    "Make room or mend the file system that holds the state directory (`df -h`, `journalctl -k`).",
)
STATE_UNUSABLE = _reason(
    "state-unusable",
    Side.DEVICE,
    "The state directory cannot be used.",
    "Mend what the message names; margod looks again by itself.",
)
STATE_IN_USE = _reason(
    "state-in-use",
    Side.DEVICE,
    "Another margod is using this state directory.",
    "Stop the other one, or give this one another state.directory.",
)
STATE_NEWER = _reason(
    "state-newer",
    Side.DEVICE,
    "The state directory was written by a newer margod; it is left untouched.",
    "Install the newer margod again.",
)
STATE_DAMAGED = _reason(
    "state-damaged",
    Side.DEVICE,
    "Part of the stored state was damaged; it was set aside in quarantine/.",
    "Check the disk (`journalctl -k`); keep quarantine/ for the analysis.",
)
WIPED = _reason(
    "wiped",
    Side.DEVICE,
    "Everything that this device knew was cleared by `margod reset --wipe`.",
    "Switch the device off; or start margod again (`systemctl restart margod`), to onboard it as a new one.",
)
NOT_RESET = _reason(
    "not-reset",
    Side.DEVICE,
    "Nothing was reset.",
    "See the message; `margod status` shows what the device is doing.",
)
NOT_UNREGISTERED = _reason(
    "not-unregistered",
    Side.WFM,
    "The WFM has not confirmed that it removed this device, so nothing was reset.",
    "Repeat it when the WFM can be reached; or `margod reset` without --unregister, and remove the device in the WFM.",
)
LEAVING = _reason(
    "leaving",
    Side.DEVICE,
    "The WFM was asked to remove this device, and may have; the reset after it did not happen.",
    "Finish it with `margod reset`; until then nothing onboards this device anew.",
)
IDENTITY_FILE_UNREADABLE = _reason(
    "identity-file-unreadable",
    Side.DEVICE,
    "The key or certificate file that the configuration names cannot be read.",
    "Check identity.key_file and identity.certificate_file and that the user margod may read them.",
)
IDENTITY_INVALID = _reason(
    "identity-invalid",
    Side.DEVICE,
    "The device's key or certificate cannot be used.",
    "Give a PEM key (P-256, P-384, Ed25519, RSA of 2048 bits or more) without a password and its certificate.",
)
KEY_EXPOSED = _reason(
    "key-exposed",
    Side.DEVICE,
    "Others than the owner may read the key file, so it is not used.",
    "chmod 600 the file named in identity.key_file.",
)
KEY_MISMATCH = _reason(
    "key-mismatch",
    Side.DEVICE,
    "The key does not belong to the certificate.",
    "Give the key that the certificate in identity.certificate_file was made for.",
)
CERTIFICATE_EXPIRED = _reason(
    "certificate-expired",
    Side.DEVICE,
    "The device's certificate has expired by this device's clock.",
    "Check this device's clock (`date`), then give a valid certificate in identity.certificate_file.",
)
IDENTITY_FILES_IGNORED = _reason(
    "identity-files-ignored",
    Side.DEVICE,
    "identity.key_file and identity.certificate_file name another identity than the one this device enrolled with.",
    "Set them back, or have it onboarded by `margod identity rotate`; until then the stored identity stays in use.",
)

INTERNAL_ERROR = _reason(
    "internal-error",
    Side.DEVICE,
    "margod met an error of its own; it goes on and tries again.",
    "Report what `journalctl -u margod` says about internal-error to the makers of margod.",
)

# The client side of the local sockets.
DAEMON_UNREACHABLE = _reason(
    "daemon-unreachable",
    Side.DEVICE,
    "No margod answers on the local socket.",
    "Start it with `systemctl start margod`, and look at `journalctl -u margod`.",
)
NOT_PERMITTED = _reason(
    "not-permitted",
    Side.DEVICE,
    "This user may not use the local socket.",
    "Join the group margod to read the status, margod-agent for the agent socket; use root to administer.",
)
NO_IDENTITY = _reason(
    "no-identity",
    Side.DEVICE,
    "This device has no certificate yet.",
    "Start margod: it makes one on first start, or takes the one named in identity.certificate_file.",
)
NOT_ROTATED = _reason(
    "not-rotated",
    Side.DEVICE,
    "The identity was not rotated.",
    "See `rotation` in `margod status --json`; `margod identity rotate --abort` gives up a candidate.",
)
NO_CANDIDATE = _reason(
    "no-candidate",
    Side.DEVICE,
    "No other identity is being onboarded.",
    "`margod identity rotate` begins it.",
)
REONBOARD_WAITS = _reason(
    "reonboard-waits",
    Side.NONE,
    "The WFM has forgotten this device; it asks anew at a moment drawn from a day, so that not all ask at once.",
)
OUTPUT_FAILED = _reason(
    "output-failed", Side.DEVICE, "The output file could not be written.", "Check the path of --out."
)
LOCAL_SOCKET_FAILED = _reason(
    "local-socket-failed",
    Side.DEVICE,
    "The local sockets could not be opened.",
    "Check local.directory and its owner, or start with `systemctl start margod`, which makes it.",
)
DEVWFM_NOT_INSTALLED = _reason(
    "devwfm-not-installed",
    Side.DEVICE,
    "The development WFM is not part of this installation.",
    "Install the package margod-devwfm of the same version, or run it elsewhere: no device in the field needs it.",
)
CERTIFICATE_NOT_YET_VALID = _reason(
    "certificate-not-yet-valid",
    Side.DEVICE,
    "The device's certificate is not valid yet by this device's clock.",
    "Check this device's clock (`date`), then the certificate in identity.certificate_file.",
)

from margod.model.reasons_capabilities import *  # noqa: E402, F403 - at the end of the table
from margod.model.reasons_check import *  # noqa: E402, F403 - here, so that the table keeps its order
from margod.model.reasons_clock import *  # noqa: E402, F403 - as above
from margod.model.reasons_desired import *  # noqa: E402, F403 - as above
from margod.model.reasons_door import *  # noqa: E402, F403 - as above
from margod.model.reasons_downtime import *  # noqa: E402, F403 - as above
from margod.model.reasons_git import *  # noqa: E402, F403 - as above
from margod.model.reasons_hardware import *  # noqa: E402, F403 - as above
from margod.model.reasons_outbox import *  # noqa: E402, F403 - as above
from margod.model.reasons_token import *  # noqa: E402, F403 - as above
from margod.model.reasons_work import *  # noqa: E402, F403 - at the end of the table
