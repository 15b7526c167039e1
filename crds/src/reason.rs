//! Reasons in conditions, Events and `lastFailure`: CamelCase words that programs may compare.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => { $($(#[$doc])* pub const $name: &str = $text;)* };
}

reasons! {
    PENDING = "Pending";
    READY = "Ready";
    RESOLVED = "Resolved";
    AVAILABLE = "Available";
    SCHEDULED = "Scheduled";
    SUSPENDED = "Suspended";
    PROGRESSING = "Progressing";
    COMPLETE = "Complete";
    /// Fewer replicas are Ready than wanted.
    REPLICAS_NOT_READY = "ReplicasNotReady";
    SCALED_TO_ZERO = "ScaledToZero";

    MODEL_NOT_FOUND = "ModelNotFound";
    MODEL_NOT_READY = "ModelNotReady";
    INVALID_MODEL_FILE = "InvalidModelFile";
    /// A file's sha256 is not the one that was asked for.
    CHECKSUM_MISMATCH = "ChecksumMismatch";
    UNSUPPORTED_FORMAT = "UnsupportedFormat";
    INVALID_REQUEST = "InvalidRequest";

    NO_HIVES = "NoHives";
    HIVE_LOST = "HiveLost";
    HIVE_NOT_FOUND = "HiveNotFound";
    INSUFFICIENT_MEMORY = "InsufficientMemory";
    BACKEND_NOT_AVAILABLE = "BackendNotAvailable";
    DEVICE_NOT_AVAILABLE = "DeviceNotAvailable";

    WORKER_START_FAILED = "WorkerStartFailed";
    WORKER_CRASHED = "WorkerCrashed";
    LOADING_TIMEOUT = "LoadingTimeout";
    /// It was asked to stop, did not, and was killed.
    WORKER_KILLED = "WorkerKilled";
    OOM_KILLED = "OOMKilled";
    /// A process that answers no health check.
    WORKER_UNRESPONSIVE = "WorkerUnresponsive";
    WORKER_ADOPTED = "WorkerAdopted";
}
