//! Who asks, and whether they may: bearer tokens kept as Secrets, three roles, one pure table of what each may do.

pub mod authorize;
pub mod identity;
pub mod tokens;

pub use authorize::{Attributes, Decision, authorize, authorize_object};
pub use identity::{Identity, Role};
pub use tokens::{AuthError, authenticate};
