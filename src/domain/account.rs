//! Accounts: who may ask, what each role may do, and what becomes of a thing that somebody else made.
//!
//! A use case takes a [`Permit`], which only an [`Actor`] with the right role is given; an actor comes from whoever
//! checked a credential. Knows nothing of how credentials look on the wire.

use super::error::{Code, Error, Result};
use super::ids::{AccountId, ModelId, ProjectId, TokenId};
use super::name::Name;
use super::stamp::{Stamp, Timestamp};
use std::fmt;
use std::marker::PhantomData;

/// The account that stands for whoever reaches a server without accounts, and for its machine's owner.
pub const LOCAL_ACCOUNT: AccountId = AccountId(1);

/// The project that everything belongs to while there is only one.
pub const DEFAULT_PROJECT: ProjectId = ProjectId(1);

/// What an account may do at the most; each may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at what is shared, and ask for predictions.
    Viewer,
    /// Make things, and change what is one's own or shared for that.
    Member,
    /// Everything, with everybody's things and accounts.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Member, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    ///
    /// # Errors
    /// `invalid_parameter` naming the roles.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::parameter("role must be admin, member or viewer"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The one on whose behalf something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The acting account.
    pub account: AccountId,
    /// The project it acts in.
    pub project: ProjectId,
    /// What it may do.
    pub role: Role,
}

impl Actor {
    /// The owner of a server that has no accounts, or of the machine that a server runs on.
    pub const LOCAL: Self = Self { account: LOCAL_ACCOUNT, project: DEFAULT_PROJECT, role: Role::Admin };

    /// Whoever made something, where what follows from it is done in their name.
    pub fn owner_of(stamp: &Stamp) -> Self {
        Self { account: stamp.owner, project: stamp.project, role: Role::Member }
    }

    /// Leave to do things of kind `A`.
    ///
    /// # Errors
    /// `forbidden` where the role does not reach.
    pub fn permit<A: Access>(self) -> Result<Permit<A>> {
        if self.role >= A::LEAST {
            return Ok(Permit { actor: self, access: PhantomData });
        }
        let message = format!("this takes the role {}, and this account is a {}; ask an admin", A::LEAST, self.role);
        Err(Error::new(Code::Forbidden, message))
    }

    /// What the actor may do with a thing of `owner` that is shared with it as `shared`.
    pub fn right(self, owner: AccountId, shared: Option<Share>) -> Right {
        let most = if self.role == Role::Viewer { Right::View } else { Right::Edit };
        let given = match shared {
            _ if self.role == Role::Admin || self.account == owner => Right::Edit,
            Some(Share::Edit) => Right::Edit,
            Some(Share::View) => Right::View,
            None => Right::Nothing,
        };
        given.min(most)
    }
}

/// A kind of thing that a use case does.
pub trait Access: Copy + Send + Sync + 'static {
    /// The least role that may.
    const LEAST: Role;
    /// What the actor needs with a thing that has an owner.
    const RIGHT: Right;
    /// True where it changes something, or gives away what a page of another site must not get.
    const CHANGES: bool;
    /// Its name.
    const NAME: &'static str;
}

/// Looks at things; asks for predictions.
#[derive(Debug, Clone, Copy)]
pub struct View;

/// Makes and changes things.
#[derive(Debug, Clone, Copy)]
pub struct Change;

/// Decides about accounts and the server as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Administer;

/// Looks at accounts and the server as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Oversee;

/// Looks at and changes what is the actor's own alone: its password, its tokens.
#[derive(Debug, Clone, Copy)]
pub struct Own;

impl Access for View {
    const LEAST: Role = Role::Viewer;
    const RIGHT: Right = Right::View;
    const CHANGES: bool = false;
    const NAME: &'static str = "view";
}

impl Access for Change {
    const LEAST: Role = Role::Member;
    const RIGHT: Right = Right::Edit;
    const CHANGES: bool = true;
    const NAME: &'static str = "change";
}

impl Access for Administer {
    const LEAST: Role = Role::Admin;
    const RIGHT: Right = Right::Edit;
    const CHANGES: bool = true;
    const NAME: &'static str = "administer";
}

impl Access for Oversee {
    const LEAST: Role = Role::Admin;
    const RIGHT: Right = Right::View;
    const CHANGES: bool = false;
    const NAME: &'static str = "oversee";
}

impl Access for Own {
    const LEAST: Role = Role::Viewer;
    const RIGHT: Right = Right::Nothing;
    const CHANGES: bool = true;
    const NAME: &'static str = "own";
}

/// Leave to do things of kind `A`, in an actor's name.
#[derive(Debug, Clone, Copy)]
pub struct Permit<A> {
    actor: Actor,
    access: PhantomData<A>,
}

impl<A: Access> Permit<A> {
    /// In whose name.
    pub fn actor(self) -> Actor {
        self.actor
    }

    /// Leave to look, which every permit includes.
    pub fn view(self) -> Permit<View> {
        Permit { actor: self.actor, access: PhantomData }
    }
}

/// What one may do with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Not even know that it is there.
    Nothing,
    /// Look at it.
    View,
    /// Change it.
    Edit,
}

/// How a model is shared with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// To look at.
    View,
    /// To work on.
    Edit,
}

impl Share {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Edit => "edit",
        }
    }

    /// The share with this name.
    ///
    /// # Errors
    /// `invalid_parameter` naming both.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "view" => Ok(Self::View),
            "edit" => Ok(Self::Edit),
            _ => Err(Error::parameter("access must be view or edit")),
        }
    }
}

/// A model that an account may use though it is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// What.
    pub model: ModelId,
    /// With whom.
    pub account: AccountId,
    /// How.
    pub share: Share,
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its history; an account that was removed is in the trash for good, so that what it did keeps a name.
    pub stamp: Stamp,
    /// What it signs in with.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// Its password's argon2id hash (PHC string); without one it has tokens only.
    pub password: Option<String>,
}

/// What a secret was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// For programs; made by hand and shown once.
    Token,
    /// A browser's sign-in.
    Session,
}

/// A secret that stands for an account; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub account: AccountId,
    /// What it was made for.
    pub kind: TokenKind,
    /// What its owner calls it.
    pub label: String,
    /// BLAKE3 of the secret, whose 200 bits need no slow hash.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to some minutes.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// True from its end on.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn actor(account: u64, role: Role) -> Actor {
        Actor { account: AccountId(account), project: DEFAULT_PROJECT, role }
    }

    #[test]
    fn a_permit_takes_its_role() {
        let allowed = |role| {
            let actor = actor(7, role);
            (actor.permit::<View>().is_ok(), actor.permit::<Change>().is_ok(), actor.permit::<Administer>().is_ok())
        };
        assert_eq!(allowed(Role::Viewer), (true, false, false));
        assert_eq!(allowed(Role::Member), (true, true, false));
        assert_eq!(allowed(Role::Admin), (true, true, true));
        assert_eq!(actor(7, Role::Viewer).permit::<Change>().unwrap_err().code, Code::Forbidden);
    }

    fn share() -> impl Strategy<Value = Option<Share>> {
        prop_oneof![Just(None), Just(Some(Share::View)), Just(Some(Share::Edit))]
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_role_and_the_share_give(owner in 1u64..4, asking in 1u64..4, role in 0usize..3, shared in share()) {
            let role = Role::ALL[role];
            let right = actor(asking, role).right(AccountId(owner), shared);
            prop_assert_eq!(right == Right::Nothing, role != Role::Admin && owner != asking && shared.is_none());
            if role == Role::Viewer {
                prop_assert!(right <= Right::View);
            }
            if role == Role::Member && owner != asking && shared != Some(Share::Edit) {
                prop_assert!(right < Right::Edit);
            }
            if role == Role::Admin || (role == Role::Member && owner == asking) {
                prop_assert_eq!(right, Right::Edit);
            }
        }
    }
}
