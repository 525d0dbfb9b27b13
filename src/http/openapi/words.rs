//! Texts that are one of a few words, as the document lists them. The domain's own enumerations print the same words.

#![expect(dead_code, reason = "they are read by whoever reads the document")]

use utoipa::ToSchema;

/// What an account may do at the most
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
pub enum RoleWord {
    Admin,
    Member,
    Viewer,
}

/// Where a run stands
#[derive(ToSchema)]
#[schema(as = RunState, rename_all = "snake_case")]
pub enum StateWord {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// How a model is shared
#[derive(ToSchema)]
#[schema(as = Access, rename_all = "snake_case")]
pub enum AccessWord {
    View,
    Edit,
}

/// What a secret is for
#[derive(ToSchema)]
#[schema(as = TokenKind, rename_all = "snake_case")]
pub enum TokenWord {
    Token,
    Session,
}

/// What was deleted
#[derive(ToSchema)]
#[schema(as = TrashKind, rename_all = "snake_case")]
pub enum TrashWord {
    Model,
    Experiment,
    Dataset,
    Image,
}

/// What a webhook tells of
#[derive(ToSchema)]
#[schema(as = Topic, rename_all = "snake_case")]
pub enum TopicWord {
    RunFinished,
    SweepFinished,
}
