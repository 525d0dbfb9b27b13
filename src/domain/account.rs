//! Who asks. Every use case takes an [`Actor`].
//!
//! Until accounts exist there is one: whoever reaches the server owns it.

use super::ids::{AccountId, ProjectId};

/// The account that stands for whoever reaches a server without accounts.
pub const LOCAL_ACCOUNT: AccountId = AccountId(1);

/// The project that everything belongs to while there is only one.
pub const DEFAULT_PROJECT: ProjectId = ProjectId(1);

/// The one on whose behalf a use case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The acting account.
    pub account: AccountId,
    /// The project it acts in.
    pub project: ProjectId,
}

impl Actor {
    /// The owner of a server that has no accounts.
    pub const LOCAL: Self = Self { account: LOCAL_ACCOUNT, project: DEFAULT_PROJECT };
}
