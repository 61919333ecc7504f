"""What the files say, as frozen values. No behaviour beyond names derived from their own fields.

Shapes and meanings: docs/files.md. Strings that come from people are limited in form here, so that the rest
of the program never meets a control character or a name that is no name.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    Tag,
)
from pydantic_core import CoreSchema, core_schema


class _WrittenDay:
    """YYYY-MM-DD as text and nothing else: pydantic's own dates also take numbers of seconds."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(
            pattern=_form(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "a day is written YYYY-MM-DD"), strict=True
        )
        return core_schema.chain_schema([text, core_schema.date_schema(strict=False)])


FORMS: dict[str, str] = {}
"""Pattern -> what it asks for, in words; messages are made from it."""


def _form(pattern: str, words: str) -> str:
    FORMS[pattern] = words
    return pattern


def _named(pattern: str, words: str, most: int) -> StringConstraints:
    return StringConstraints(min_length=1, max_length=most, pattern=_form(pattern, words))


_REPOSITORY = r"^[A-Za-z0-9_.-]+$"
_LOGIN = r"^[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\[bot\])?$"
_OWNER = r"^[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:/[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)?$"
_RESOURCE = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
_SLUG = r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$"
_CLASS = r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$"
_CLOUD_NAME = r"^[A-Za-z0-9][A-Za-z0-9 _.:/-]*$"
# No control characters, and no bidirectional overrides, which make a reader see another text than what stands there.
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*$"
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
_URL = r"^https://[^\s\x00-\x1f\x7f\"'<>\\`{}|^]+$"
_API = r"^(?:https://[A-Za-z0-9.-]+(?::[0-9]+)?|http://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]+)?)(?:/[A-Za-z0-9._/-]*)?$"
_PREFIX = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
_PCI = r"^(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_CIDR = rf"^{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}/(?:[89]|1[0-9]|2[0-8])$"
_SOURCE = rf"^{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}/(?:[89]|[12][0-9]|3[0-2])$"

Text = Annotated[str, StringConstraints(max_length=4096, pattern=_form(_TEXT, "it has a control character"))]
Line = Annotated[str, _named(_LINE, "it must be one line without control characters", 1024)]
Repository = Annotated[
    str, _named(_REPOSITORY, "names have letters, digits, dots, dashes and underscores", 100)
]
"""A repository's name as GitHub allows it; feedstocks have dots and underscores (`webkit2gtk4.1`)."""
Login = Annotated[str, _named(_LOGIN, "logins have letters, digits and dashes, without @", 60)]
Owner = Annotated[
    str, _named(_OWNER, "an owner is a login, or a team written organisation/team, without @", 140)
]
"""Who may own a file at GitHub."""
FullName = Annotated[
    str,
    _named(
        r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$",
        "a repository is written OWNER/NAME",
        160,
    ),
]
Resource = Annotated[str, _named(_RESOURCE, "names have letters, digits, dots, dashes and underscores", 100)]
Slug = Annotated[str, _named(_SLUG, "names have small letters, digits and dashes", 40)]
"""Names that we make things from: stacks, donors' users files, credentials."""
Class = Annotated[str, _named(_CLASS, "names have small letters, digits, dots and dashes", 60)]
CloudName = Annotated[str, _named(_CLOUD_NAME, "names have letters, digits, spaces and _ . : / -", 255)]
"""What clouds call their flavors, images and networks."""
Day = Annotated[date, _WrittenDay()]
Currency = Annotated[
    str, StringConstraints(pattern=_form(r"^[A-Z]{3}$", "a currency has three letters, such as EUR"))
]
Url = Annotated[str, _named(_URL, "an address begins with https:// and has no spaces or quotes", 2048)]
ApiUrl = Annotated[
    str,
    _named(_API, "an API's address is https://HOST, or http:// on this machine, without a login in it", 2048),
]
Prefix = Annotated[
    str,
    _named(
        _PREFIX, "a prefix is names of letters, digits, dots, dashes and underscores, with / between", 200
    ),
]
Period = Annotated[
    str, StringConstraints(pattern=_form(r"^[1-9][0-9]{0,3}d$", "a period is written in days, such as 90d"))
]
Fraction = Annotated[
    str, StringConstraints(pattern=_form(r"^[1-9][0-9]{0,2}/[1-9][0-9]{0,2}$", "a share is written 1/8"))
]
Cidr = Annotated[
    str, StringConstraints(pattern=_form(_CIDR, "a network is written 10.42.0.0/24, with 8 to 28 bits"))
]
Source = Annotated[
    str, StringConstraints(pattern=_form(_SOURCE, "addresses are written 192.0.2.7/32 or 192.0.2.0/24"))
]
Pci = Annotated[str, StringConstraints(pattern=_form(_PCI, "an address is written a3:00.0"))]
Sha256 = Annotated[
    str, StringConstraints(pattern=_form(r"^[0-9a-f]{64}$", "a sha256 has 64 hexadecimal digits"))
]
ActionsName = Annotated[
    str,
    _named(
        r"^[A-Z_][A-Z0-9_]*$",
        "names of secrets and variables have capital letters, digits and underscores",
        100,
    ),
]
"""What GitHub calls organisation secrets and variables; it keeps them in capital letters."""
Variable = Annotated[
    str, StringConstraints(pattern=_form(r"^env [A-Z][A-Z0-9_]*$", "it is written env NAME"))
]
VariableName = Annotated[
    str,
    _named(r"^[A-Za-z_][A-Za-z0-9_]*$", "names of variables have letters, digits and underscores", 100),
]
Bucket = Annotated[
    str,
    _named(
        r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", "names of buckets have small letters, digits, dots and dashes", 63
    ),
]
Region = Annotated[str, _named(r"^[A-Za-z0-9][A-Za-z0-9-]*$", "a region is written eu-central-1", 40)]
RoleArn = Annotated[
    str,
    _named(
        r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
        "a role is written arn:aws:iam::123456789012:role/NAME",
        200,
    ),
]
AgeRecipient = Annotated[
    str,
    _named(r"^age1[0-9a-z]{58}$", "a recipient is age's public key: age1 and 58 letters and digits", 62),
]
FieldName = Annotated[
    str, _named(r"^[a-z][a-z0-9_]*$", "names of fields have small letters, digits and _", 60)
]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
NotNegative = Annotated[int, Field(ge=0, le=1_000_000_000)]
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of all: unknown keys are faults, nothing is converted silently, nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


# ---------------------------------------------------------------------------------------------- grants.yaml


class Grant(Frozen):
    """A feedstock's right to use one or more resources, with the conditions under which its jobs may run."""

    feedstock: Repository | None = None
    repo: Repository | None = None
    resources: list[Resource]
    reason: Text | None = None
    request: Url | None = None
    requested_by: Login | None = None
    approved_by: list[Login] = Field(default_factory=list)
    granted: Day | None = None
    expires: Day | None = None
    pull_requests: bool = False
    roles: list[Login] = Field(default_factory=list)
    teams: list[Repository] = Field(default_factory=list)
    users: list[Login] = Field(default_factory=list)
    terms: Slug | None = None
    terms_url: Url | None = None
    stack: Slug | None = None
    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    id: Line | None = None
    imported: Line | None = None

    @property
    def repository(self) -> str:
        """The repository's name without its organisation: `pytorch-cpu-feedstock`."""
        return (
            self.repo if self.feedstock is None and self.repo is not None else f"{self.feedstock}-feedstock"
        )


class GrantsFile(Frozen):
    """grants.yaml as a whole."""

    version: Literal[1]
    grants: list[Grant]


# ---------------------------------------------------------------------------------------------- users/*.json


class Bot(Frozen):
    """Makes an account a bot: the person who answers for it, and the first day on which it may do nothing more."""

    owner: Login
    until: Day


class User(Frozen):
    """Somebody who accepted a donor's terms, or their bot. The id decides who it is; the login may change.

    `terms`: the version that was accepted, `accepted`: when; `formerly`: logins that were this person's before.
    """

    github: Login
    id: Annotated[int, Field(ge=1)]
    formerly: list[Login] = Field(default_factory=list)
    terms: Day | None = None
    accepted: Day | None = None
    bot: Bot | None = None


class UsersFile(Frozen):
    """users/<name>.json."""

    users: list[User]


# ---------------------------------------------------------------------------------------------- stacks/*.yaml


class Kind(StrEnum):
    """What a donor's resources are made of; see the table in docs/stacks.md."""

    OPENSTACK = "openstack"
    AWS = "aws"
    APP = "app"
    GITHUB = "github"
    DRONE = "drone"
    CIRUN = "cirun"


class Rights(StrEnum):
    """admin: projects, flavors and quotas are ours to make; member: we were given one project."""

    ADMIN = "admin"
    MEMBER = "member"


class Via(StrEnum):
    """Who makes the machine and how jobs reach it."""

    CIRUN = "cirun"
    DRONE = "drone"
    DIRECT = "direct"
    APP = "app"


class Mode(StrEnum):
    """on-demand: one machine for one job; pool: shared by the grants of an offer; dedicated: per grant."""

    ON_DEMAND = "on-demand"
    POOL = "pool"
    DEDICATED = "dedicated"


VIA_AND_MODE: dict[Via, tuple[Mode, ...]] = {
    Via.CIRUN: (Mode.ON_DEMAND,),
    Via.DRONE: (Mode.ON_DEMAND, Mode.POOL, Mode.DEDICATED),
    Via.DIRECT: (Mode.POOL, Mode.DEDICATED),
    Via.APP: (Mode.ON_DEMAND,),
}


class Gpu(Frozen):
    """One GPU. `model` is the name of Nova's PCI alias for it. A group of the IOMMU goes to one machine only."""

    model: Class
    pci: Pci | None = None
    iommu_group: NotNegative | None = None
    broken: bool = False


class Reserved(Frozen):
    """What a host keeps for itself and its hypervisor."""

    vcpus: NotNegative = 0
    memory_gib: NotNegative = 0
    disk_gib: NotNegative = 0


class Host(Frozen):
    """A physical machine."""

    name: Class
    vcpus: Positive
    memory_gib: Positive
    disk_gib: Positive
    reserved: Reserved = Reserved()
    gpus: list[Gpu] = Field(default_factory=list)


class Slice(Frozen):
    """The share of a host that one machine gets, in numbers."""

    gpus: NotNegative = 0
    vcpus: Positive
    memory_gib: Positive
    disk_gib: Positive


# Told apart by what stands there, so that only the faults of the form that was meant come out.
Share: TypeAlias = Annotated[
    Annotated[Fraction, Tag("fraction")] | Annotated[Slice, Tag("numbers")],
    Discriminator(lambda value: "numbers" if isinstance(value, (dict, Slice)) else "fraction"),
]
Setting: TypeAlias = Annotated[
    Annotated[str, Tag("text")] | Annotated[int, Tag("number")] | Annotated[bool, Tag("truth")],
    Discriminator(lambda value: {bool: "truth", int: "number"}.get(type(value), "text")),
]


class Price(Frozen):
    """What a machine costs for each hour, or a donor's budget for each month."""

    amount: Amount
    currency: Currency
    per: Literal["hour", "month"]


class CirunEntry(Frozen):
    """What Cirun's runner entry needs beyond the label."""

    cloud: Resource | None = None
    region: CloudName | None = None
    instance_type: CloudName | None = None
    machine_image: Line | None = None
    gpu: Line | None = None
    preemptible: bool | None = None
    idle: NotNegative | None = None
    extra_config: dict[str, Setting] = Field(default_factory=dict)


class Offer(Frozen):
    """What a stack offers for a runner class."""

    slice: Share | None = None
    hosts: list[Class] = Field(default_factory=list)
    flavor: CloudName | None = None
    image: Resource | None = None
    via: Annotated[Via, Field(strict=False)]
    mode: Annotated[Mode, Field(strict=False)]
    max: Positive | None = None
    size: Positive | None = None
    label: Resource | None = None
    os: Literal["linux", "windows", "macos"] = "linux"
    arch: Literal["x86_64", "aarch64", "ppc64le"] = "x86_64"
    max_hours: Annotated[int, Field(ge=1, le=720)] = 24
    price: Price | None = None
    cirun: CirunEntry = CirunEntry()


class Image(Frozen):
    """A disk image: one of ours from a file or an address, or one that the cloud has, by name."""

    file: Line | None = None
    url: Url | None = None
    sha256: Sha256 | None = None
    name: CloudName | None = None


class Network(Frozen):
    """The stack's own network: `external` is the cloud's network to the outside, `ssh_from` who may connect by SSH."""

    cidr: Cidr = "10.42.0.0/24"
    external: CloudName | None = None
    ssh_from: list[Source] = Field(default_factory=list)


class CredentialKind(StrEnum):
    """What a credential is, and where it opens something; the table in docs/credentials.md has more of each."""

    APPLICATION_CREDENTIAL = "application_credential"
    USER = "user"
    DRONE_RPC_SECRET = "drone_rpc_secret"
    DRONE_TOKEN = "drone_token"
    SECRET = "secret"
    SSH_KEY = "ssh_key"
    GITHUB_APP_KEY = "github_app_key"
    GITHUB_TOKEN = "github_token"
    S3_KEY = "s3_key"
    AWS_ACCESS_KEY = "aws_access_key"
    AWS_ROLE = "aws_role"


class AccessRule(Frozen):
    """What an application credential may ask for at all, such as compute, GET, /v2.1/servers."""

    service: Slug
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[
        str, _named(r"^/[A-Za-z0-9._{}*/-]*$", "a path begins with / and may have * and {name}", 200)
    ]


class Credential(Frozen):
    """A login that somebody outside needs; where it goes and how often it turns.

    `roles`, `access_rules`: of application credentials; the project's `member` and every request, if none are given.
    What follows `source` belongs to single kinds (CREDENTIAL_KEYS): whose login, where, and what its canary reads.
    """

    kind: Annotated[CredentialKind, Field(strict=False)]
    roles: list[Slug] = Field(default_factory=list)
    access_rules: list[AccessRule] = Field(default_factory=list)
    rotate_every: Period = "90d"
    overlap: Period = "2d"
    deliver: list[Slug] = Field(default_factory=list)
    source: Variable | None = None
    username: Login | None = None
    server: ApiUrl | None = None
    app_id: Annotated[int, Field(ge=1, le=2**53)] | None = None
    installation: Annotated[int, Field(ge=1, le=2**53)] | None = None
    selection: ActionsName | None = None
    repository: Repository | None = None
    bucket: Bucket | None = None
    endpoint: ApiUrl | None = None
    region: Region | None = None
    role_arn: RoleArn | None = None


CREDENTIAL_KEYS: dict[CredentialKind, tuple[str, ...]] = {
    CredentialKind.DRONE_RPC_SECRET: ("server",),
    CredentialKind.DRONE_TOKEN: ("username", "server"),
    CredentialKind.GITHUB_APP_KEY: ("app_id",),
    CredentialKind.GITHUB_TOKEN: ("selection", "installation", "repository"),
    CredentialKind.S3_KEY: ("bucket", "endpoint", "region"),
    CredentialKind.AWS_ACCESS_KEY: ("endpoint", "region"),
    CredentialKind.AWS_ROLE: ("role_arn", "endpoint", "region"),
}
"""The keys of Credential that belong to a kind, beside those of all kinds."""


class RunnerGroup(Frozen):
    """A runner group of the organisation; its repositories are those with a grant of one of `resources`."""

    resources: Annotated[list[Resource], Field(min_length=1)]
    public: bool = True


class Selection(Frozen):
    """An organisation secret that is there; its repositories are those with a grant of one of `resources`."""

    resources: Annotated[list[Resource], Field(min_length=1)]


class ShownVariable(Frozen):
    """An organisation variable that only repositories with a grant see; its value is the labels, or `value`."""

    resources: Annotated[list[Resource], Field(min_length=1)]
    value: Line | None = None


class GithubAccess(Frozen):
    """What a stack of kind github keeps at the organisation."""

    repository: Repository = ".cirun"
    runner_groups: dict[Resource, RunnerGroup] = Field(default_factory=dict)
    secrets: dict[ActionsName, Selection] = Field(default_factory=dict)
    variables: dict[ActionsName, ShownVariable] = Field(default_factory=dict)


class AppInstallation(Frozen):
    """A vendor's GitHub App, installed for chosen repositories; `keep` is one that stays, since GitHub keeps one.

    `by_hand` is what the vendor's programs cannot take back: one sentence each, a manual step of every revocation.
    """

    vendor: Line
    installation: Annotated[int, Field(ge=1, le=2**53)]
    keep: Repository
    by_hand: list[Line] = Field(default_factory=list)


class Terms(Frozen):
    """The donor's terms: who accepted them, which version, and where others read the list of people.

    `grace_until`: the first day on which those who accepted an older version only have no access any more.
    """

    users: Slug | None = None
    version: Day | None = None
    grace_until: Day | None = None
    url: Url | None = None


class Donor(Frozen):
    """Who gives, who answers for it, until when."""

    name: Line
    contacts: list[Login] = Field(default_factory=list)
    terms: Terms = Terms()
    until: Day | None = None
    budget: Price | None = None


class Stack(Frozen):
    """stacks/<name>.yaml: what one donor gives."""

    version: Literal[1]
    kind: Annotated[Kind, Field(strict=False)]
    rights: Annotated[Rights, Field(strict=False)] = Rights.ADMIN
    cloud: Resource | None = None
    donor: Donor
    hosts: list[Host] = Field(default_factory=list)
    images: dict[Resource, Image] = Field(default_factory=dict)
    network: Network = Network()
    offers: dict[Class, Offer] = Field(default_factory=dict)
    credentials: dict[Slug, Credential] = Field(default_factory=dict)
    github: GithubAccess | None = None
    app: AppInstallation | None = None


# ---------------------------------------------------------------------------------------------- settings.yaml


class KeySource(Frozen):
    """Where the key of state and plans comes from: a file with mode 600, or a command that prints it."""

    file: Line | None = None
    command: list[Line] | None = None


class RecoveryKey(Frozen):
    """Somebody else's way to the key of the state: a public key of age, and who has the private one."""

    name: Slug
    recipient: AgeRecipient
    holders: Annotated[list[Login], Field(min_length=1)]


class StateKind(StrEnum):
    """Where states lie: below the root folder, or in a bucket that a team shares."""

    LOCAL = "local"
    S3 = "s3"


class State(Frozen):
    """Where OpenTofu keeps its state. `previous`: the key before the last change of it, as long as something needs it.

    `bucket`, `region`, `endpoint`, `prefix` are for kind s3; an `endpoint` is that of a store other than AWS's own.
    `holders`: who has the master key, or may use the command that prints it.
    """

    kind: Annotated[StateKind, Field(strict=False)] = StateKind.LOCAL
    bucket: Bucket | None = None
    region: Region | None = None
    endpoint: ApiUrl | None = None
    prefix: Prefix | None = None
    key: KeySource = KeySource()
    previous: KeySource | None = None
    recovery: list[RecoveryKey] = Field(default_factory=list)
    holders: list[Login] = Field(default_factory=list)


class Thresholds(Frozen):
    """When taking away is refused: at least so many, and over that share in percent."""

    servers: Positive = 3
    servers_percent: Annotated[int, Field(ge=1, le=100)] = 30
    grants: Positive = 5
    grants_percent: Annotated[int, Field(ge=1, le=100)] = 20


class Delivery(StrEnum):
    """How Cirun's lists get into the organisation's repository."""

    PULL_REQUEST = "pull-request"
    DIRECT = "direct"


class GithubLogin(Frozen):
    """Where GitHub's REST API is, and where its token comes from: a variable, or a command that prints it.

    `repository`: where this folder is at GitHub, OWNER/NAME; in a workflow it is the workflow's own.
    """

    api: ApiUrl = "https://api.github.com"
    token: Variable = "env GITHUB_TOKEN"
    token_command: Annotated[list[Line], Field(min_length=1)] | None = None
    repository: FullName | None = None


class _Sink(Frozen):
    """What all sinks have: `holders` are the logins of those who can use or renew what lies there."""

    holders: list[Login] = Field(default_factory=list)


class CirunSink(_Sink):
    """Cirun's connection to a cloud: one login for each kind of cloud, unless the account can have `several`."""

    kind: Literal["cirun"]
    several: bool = False


class GithubSecretSink(_Sink):
    """An organisation Actions secret; `name`: else the credential's, in capital letters."""

    kind: Literal["github-secret"]
    name: ActionsName | None = None
    field: FieldName | None = None


class DroneSecretSink(_Sink):
    """A secret of all repositories of a namespace, kept by a Drone server; `token`: an admin's."""

    kind: Literal["drone-secret"]
    server: ApiUrl
    namespace: Repository
    name: Repository | None = None
    field: FieldName | None = None
    token: Variable = "env DRONE_TOKEN"
    pull_requests: bool = False


class DroneEnvSink(_Sink):
    """The environment file of a Drone server; `restart` is a command that has the server read it again."""

    kind: Literal["drone-env"]
    file: Line
    restart: Annotated[list[Line], Field(min_length=1)] | None = None


class FileSink(_Sink):
    """A file with mode 600 in the stack's folder of delivered things."""

    kind: Literal["file"]


class CommandSink(_Sink):
    """A command (no shell) that gets the fields as JSON on its standard input, or one `field`, or a filled `template`.

    `variables` are those of our environment that it gets; `timeout` is in seconds.
    """

    kind: Literal["command"]
    command: Annotated[list[Line], Field(min_length=1)]
    field: FieldName | None = None
    template: Text | None = None
    variables: list[ActionsName] = Field(default_factory=list)
    timeout: Annotated[int, Field(ge=1, le=600)] = 60


class AgeSink(_Sink):
    """A file that only the holders of the recipients' keys can read (age); `file`: else NAME.json.age."""

    kind: Literal["age"]
    recipients: Annotated[list[AgeRecipient], Field(min_length=1)]
    file: Line | None = None


SinkSettings: TypeAlias = Annotated[
    CirunSink | GithubSecretSink | DroneSecretSink | DroneEnvSink | FileSink | CommandSink | AgeSink,
    Discriminator("kind"),
]
EMBEDDED_SINKS: dict[str, SinkSettings] = {"cirun": CirunSink(kind="cirun"), "file": FileSink(kind="file")}
"""The sinks that are there without being listed in settings.yaml."""


class Eyes(Frozen):
    """How many must look, and who: logins or teams. Without `by` those who approve the change anyway."""

    by: list[Owner] = Field(default_factory=list)
    required: Annotated[int, Field(ge=1, le=9)] = 1


class ExtraEyes(Frozen):
    """Who looks besides: at what gives GPUs, at what takes away, at what holds for the whole organisation."""

    gpu: Eyes | None = None
    destroy: Eyes | None = None
    org_wide: Eyes | None = None


class Approvals(Frozen):
    """Who looks at changes: of grants.yaml by `default`, of what a donor gives by `stacks`; logins or teams.

    `required`: how many of them; `veto`: does a donor's contact who asks for changes hold back what is that donor's?
    """

    default: list[Owner] = Field(default_factory=list)
    stacks: dict[Slug, list[Owner]] = Field(default_factory=dict)
    required: Annotated[int, Field(ge=1, le=9)] = 1
    extra: ExtraEyes = ExtraEyes()
    veto: bool = True


class Settings(Frozen):
    """settings.yaml: the operator's own choices, never a stranger's."""

    version: Literal[1] = 1
    organisation: Repository = "conda-forge"
    state: State = State()
    thresholds: Thresholds = Thresholds()
    jobs: Annotated[int, Field(ge=1, le=64)] = 4
    image_hosts: list[Line] = Field(default_factory=list)
    credential_hosts: list[Line] = Field(default_factory=list)
    access_delivery: Annotated[Delivery, Field(strict=False)] = Delivery.PULL_REQUEST
    github: GithubLogin = GithubLogin()
    operators: list[Login] = Field(default_factory=list)
    command_variables: list[VariableName] = Field(default_factory=list)
    feedstock_token: list[Annotated[list[Line], Field(min_length=1)]] = Field(default_factory=list)
    sinks: dict[Slug, SinkSettings] = Field(default_factory=dict)
    approvals: Approvals = Approvals()
    renewals_per_run: Positive = 20

    @property
    def all_sinks(self) -> dict[str, SinkSettings]:
        """The sinks by name, with those that are there without being listed."""
        return {**EMBEDDED_SINKS, **self.sinks}


class Override(Frozen):
    """A dated permission to take away exactly so many servers and grants of a stack."""

    stack: Slug
    destroy: Positive
    reason: Text
    until: Day


class Overrides(Frozen):
    """overrides.yaml."""

    version: Literal[1]
    overrides: list[Override] = Field(default_factory=list)


# ---------------------------------------------------------------------------------------------- a whole folder

Key: TypeAlias = str
"""`repository/resource`, such as `pytorch-cpu-feedstock/gpu-large`."""


class PartialStack(Frozen):
    """What is left of a stack file without its wrong values; `without`: the keys at its top that lost something."""

    stack: Stack
    without: frozenset[str]


class Inventory(Frozen):
    """All files of a root folder, read and validated. Stack and users files by name."""

    grants: dict[int, Grant]
    stacks: dict[str, Stack]
    users: dict[str, UsersFile]
    settings: Settings = Settings()
    overrides: Overrides = Overrides(version=1)
    partial: dict[int, Grant] = Field(default_factory=dict)
    """What is left of entries that have a wrong value somewhere, for rules that look at single values."""
    partial_stacks: dict[str, PartialStack] = Field(default_factory=dict)
    """The same of stack files, for rules that look at one stack alone."""
    unread: frozenset[str] = frozenset()
    """The files that are there, but could not be read: what others name may well be in them."""
