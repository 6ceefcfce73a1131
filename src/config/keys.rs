//! The one table of settings. File keys, variables, defaults and
//! `docs/configuration.md` all follow from it.

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The path in the file, such as `source.pollInterval`.
    pub(super) path: &'static str,
    /// The name under which the reference knows it.
    pub(super) kuma: Option<&'static str>,
    /// What holds where nobody sets it.
    pub(super) default: Option<&'static str>,
    /// What it is, for the documentation.
    pub(super) about: &'static str,
}

impl Key {
    /// The variable, such as `WINDLASS_SOURCE_POLL_INTERVAL`.
    pub(super) fn variable(&self) -> String {
        let mut name = "WINDLASS_".to_owned();
        for c in self.path.chars() {
            match c {
                '.' => name.push('_'),
                c => {
                    if c.is_ascii_uppercase() {
                        name.push('_');
                    }
                    name.push(c.to_ascii_uppercase());
                }
            }
        }
        name
    }
}

macro_rules! keys {
    ($($name:ident = $path:literal, $default:expr, $kuma:expr, $about:literal;)*) => {
        $(pub(super) static $name: Key =
            Key { path: $path, kuma: $kuma, default: $default, about: $about };)*
        /// Every setting, in the order of the documentation.
        pub(super) static ALL: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    SOURCE_REPO = "source.repo", None, None,
        "The Git repository that holds the desired state: a URL, or the path of a local one. `windlass run` needs it.";
    SOURCE_BRANCH = "source.branch", None, None,
        "The branch that is followed; the repository's HEAD where not set.";
    SOURCE_PATH = "source.path", Some("."), None,
        "The folder inside the repository that holds the resources.";
    SOURCE_POLL_INTERVAL = "source.pollInterval", Some("30s"), None,
        "How often the repository is looked at, 1s at least. A local repository is also watched, so a commit is seen at once.";
    SOURCE_IDENTITY = "source.decryption.identityFile", None, None,
        "The age identities, or the SSH private key, that open sealed CA keys.";
    STORE_TYPE = "store.type", Some("sqlite"), Some("KUMA_STORE_TYPE"),
        "Where the current state is kept: `sqlite`, the embedded store, or `postgres` or `kubernetes`, which several replicas share.";
    STORE_SQLITE_PATH = "store.sqlite.path", Some("windlass.db"), None,
        "The database file. The default lies in the state folder.";
    STORE_POSTGRES_HOST = "store.postgres.host", Some("127.0.0.1"), Some("KUMA_STORE_POSTGRES_HOST"),
        "The name or address of the Postgres server, or the folder of its Unix socket.";
    STORE_POSTGRES_PORT = "store.postgres.port", Some("5432"), Some("KUMA_STORE_POSTGRES_PORT"),
        "The port of the Postgres server.";
    STORE_POSTGRES_USER = "store.postgres.user", Some("windlass"), Some("KUMA_STORE_POSTGRES_USER"),
        "The role that Windlass has on the Postgres server.";
    STORE_POSTGRES_PASSWORD = "store.postgres.password", None, Some("KUMA_STORE_POSTGRES_PASSWORD"),
        "The password of that role.";
    STORE_POSTGRES_PASSWORD_FILE = "store.postgres.passwordFile", None, None,
        "A file whose first line is the password, in place of `store.postgres.password`.";
    STORE_POSTGRES_DB_NAME = "store.postgres.dbName", Some("windlass"), Some("KUMA_STORE_POSTGRES_DB_NAME"),
        "The database, which Windlass has for itself.";
    STORE_POSTGRES_TIMEOUT = "store.postgres.connectionTimeout", Some("5s"), None,
        "How long making a connection to Postgres may take, from 100ms to 5m.";
    STORE_POSTGRES_CONNECTIONS = "store.postgres.maxOpenConnections", Some("10"), None,
        "How many connections to Postgres a replica has at most, from 1 to 1000, beside one that listens and one that leads.";
    STORE_POSTGRES_TLS_MODE = "store.postgres.tls.mode", Some("disable"), Some("KUMA_STORE_POSTGRES_TLS_MODE"),
        "How the connection to Postgres is secured: `disable` (not at all), `verifyNone` (TLS, no certificate is checked), `verifyCa` (the server's certificate must come from `caPath`) or `verifyFull` (and name the host).";
    STORE_POSTGRES_TLS_CA = "store.postgres.tls.caPath", None, Some("KUMA_STORE_POSTGRES_TLS_CA_PATH"),
        "The authorities that the certificate of the Postgres server must come from, in PEM; `verifyCa` and `verifyFull` need it. No others are trusted.";
    STORE_POSTGRES_TLS_CERT = "store.postgres.tls.certPath", None, Some("KUMA_STORE_POSTGRES_TLS_CERT_PATH"),
        "The certificate that Windlass shows to Postgres, in PEM.";
    STORE_POSTGRES_TLS_KEY = "store.postgres.tls.keyPath", None, Some("KUMA_STORE_POSTGRES_TLS_KEY_PATH"),
        "The private key of that certificate, in PEM.";
    STORE_KUBERNETES_NAMESPACE = "store.kubernetes.namespace", None, None,
        "The namespace of the control plane. Where not set, the one of the pod's service account; outside of a cluster `windlass-system`.";
    STORE_KUBERNETES_KUBECONFIG = "store.kubernetes.kubeconfig", None, None,
        "The kubeconfig file that says where the cluster is; the pod's own service account where not set.";
    STORE_KUBERNETES_CONTEXT = "store.kubernetes.context", None, None,
        "The context in the kubeconfig; its current one where not set.";
    STORE_ENCRYPTION_IDENTITY = "store.encryption.identityFile", Some("store-identity.txt"), None,
        "The age identity that private keys are encrypted to at rest. For `sqlite` it is made on first run, and the default lies in the state folder; a store that is shared has no default, and every replica is given the same file.";
    STORE_ENCRYPTION_NONE = "store.encryption.none", Some("false"), None,
        "`true` keeps private keys in the store in clear, without an identity.";
    GENERAL_ADVERTISED_HOSTNAME = "general.advertisedHostname", None, Some("KUMA_GENERAL_ADVERTISED_HOSTNAME"),
        "The host name or address under which other machines reach this control plane.";
    GENERAL_INSTANCE_ID = "general.instanceId", None, None,
        "The name of this instance of the control plane, which dataplanes are shown with; the host's name where not set. Replicas that share a store have different ones.";
    API_INTERFACE = "api.interface", Some("127.0.0.1"), None,
        "The address that the HTTP API listens on.";
    API_PORT = "api.port", Some("5681"), None,
        "The port of the HTTP API.";
    ADMIN_LOCAL_PORT = "admin.local.port", Some("5679"), None,
        "The port of the admin server, which issues dataplane tokens on 127.0.0.1 only.";
    ADMIN_PUBLIC_ENABLED = "admin.public.enabled", Some("false"), Some("KUMA_ADMIN_SERVER_PUBLIC_ENABLED"),
        "`true` opens the admin server to other machines too, over HTTPS and only to clients whose certificate is in `clientCertsDir`. The settings of `admin.public` below are needed then.";
    ADMIN_PUBLIC_INTERFACE = "admin.public.interface", None, Some("KUMA_ADMIN_SERVER_PUBLIC_INTERFACE"),
        "The address that the public admin server listens on.";
    ADMIN_PUBLIC_PORT = "admin.public.port", None, Some("KUMA_ADMIN_SERVER_PUBLIC_PORT"),
        "The port of the public admin server; the one of the local admin server where not set.";
    ADMIN_PUBLIC_CERT = "admin.public.tls.certFile", None, Some("KUMA_ADMIN_SERVER_PUBLIC_TLS_CERT_FILE"),
        "The certificate of the public admin server, in PEM. `windlass generate tls-certificate` makes one.";
    ADMIN_PUBLIC_KEY = "admin.public.tls.keyFile", None, Some("KUMA_ADMIN_SERVER_PUBLIC_TLS_KEY_FILE"),
        "The private key of that certificate, in PEM.";
    ADMIN_PUBLIC_CLIENTS = "admin.public.clientCertsDir", None, Some("KUMA_ADMIN_SERVER_PUBLIC_CLIENT_CERTS_DIR"),
        "The folder of the clients' certificates, without keys, as `.pem` files. A client is let in whose certificate is one of them, or comes from an authority among them. Changes hold from the next connection on.";
    XDS_INTERFACE = "xds.interface", Some("127.0.0.1"), None,
        "The address that the xDS server listens on.";
    XDS_PORT = "xds.port", Some("5678"), None,
        "The port of the xDS server.";
    XDS_ACCOUNTS_ENABLED = "xds.serviceAccountTokens.enabled", None, None,
        "Whether dataplanes may prove themselves with a ServiceAccountToken of Kubernetes instead of a dataplane token: `true` or `false`. Where not set, they may where the store is `kubernetes`.";
    XDS_ACCOUNTS_AUDIENCE = "xds.serviceAccountTokens.audience", Some("windlass"), None,
        "The audience that a ServiceAccountToken must be meant for.";
    XDS_ACCOUNTS_CACHE_FOR = "xds.serviceAccountTokens.cacheFor", Some("1m"), None,
        "How long the API server's word about a ServiceAccountToken is kept, from 1s to 10m, and never past the token's end. An open stream asks again after five times as long.";
    DIAGNOSTICS_INTERFACE = "diagnostics.interface", Some("127.0.0.1"), None,
        "The address that `/healthy`, `/ready` and `/metrics` listen on. Whoever reaches it reads the metrics; in a pod, the kubelet has to.";
    DIAGNOSTICS_PORT = "diagnostics.port", Some("5680"), None,
        "The port of `/healthy`, `/ready` and `/metrics`.";
    WEBHOOK_ENABLED = "webhook.enabled", None, None,
        "Whether the API server of Kubernetes may ask what `kubectl` may write: `true` or `false`. Where not set, it may where the store is `kubernetes`.";
    WEBHOOK_INTERFACE = "webhook.interface", Some("127.0.0.1"), None,
        "The address that the admission webhook listens on.";
    WEBHOOK_PORT = "webhook.port", Some("5443"), None,
        "The port of the admission webhook.";
    WEBHOOK_SERVICE = "webhook.service", Some("windlass-webhook"), None,
        "The name of the Kubernetes Service that the API server reaches the admission webhook by.";
    WEBHOOK_CONFIGURATION = "webhook.configuration", Some("windlass"), None,
        "The name of the ValidatingWebhookConfiguration that is given the CA of the admission webhook. Each control plane in a cluster has its own.";
    WEBHOOK_LIFETIME = "webhook.certificateLifetime", Some("30d"), None,
        "How long the certificate of the admission webhook lives, from 2s to 398d. It is renewed at half of it.";
    CA_LEAF_LIFETIME = "ca.leafLifetime", Some("24h"), None,
        "How long a proxy's certificate lives, from 2s to 3650d. It is renewed at half of it.";
    CA_REISSUE_RATE = "ca.reissueRate", Some("200"), None,
        "How many certificates are reissued per second where another authority signs, from 1 to 100000, in all meshes together. A first certificate and a renewal never wait.";
    CA_LEAF_KEY = "ca.leafKey", Some("ecP256"), None,
        "The kind of a proxy's key: `ecP256` or `rsa2048`.";
}

/// Variables that are no keys of the file, with what they are.
pub(super) const OTHER_VARIABLES: [(&str, &str); 3] = [
    (
        "WINDLASS_STATE_DIR",
        "The state folder, where `--state-dir` is not given. The default is `$XDG_STATE_HOME/windlass`, else `~/.local/state/windlass`.",
    ),
    (
        "WINDLASS_LOG",
        "What is logged, in the syntax of tracing's `EnvFilter`, such as `info` or `windlass::xds=debug`. The default is `info`.",
    ),
    ("WINDLASS_LOG_FORMAT", "`text` (the default) or `json`."),
];

/// The key of that path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.path == path)
}

/// Whether `path` holds keys and is none itself.
pub(super) fn is_section(path: &str) -> bool {
    ALL.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The candidate that `text` was probably meant to be.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 4 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
