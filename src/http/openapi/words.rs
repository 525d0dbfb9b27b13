//! Values with rules of their own, as the document lists them: texts that are one of a few words, numbers within bounds. The
//! domain's own types have the same rules.

#![expect(dead_code, reason = "they are read by whoever reads the document")]

use crate::domain::experiment::{MAX_LAYERS, MAX_LEARNING_RATE, MAX_STEPS, MIN_LEARNING_RATE};
use crate::domain::name::MAX_NAME;
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

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

/// Values of a plain type within bounds, which the derive cannot say of a type of its own.
macro_rules! bounded {
    ($($(#[$doc:meta])* $word:ident, $name:literal, $build:expr;)+) => {
        $(
            $(#[$doc])*
            pub struct $word;

            impl PartialSchema for $word {
                fn schema() -> RefOr<Schema> {
                    let build: fn(ObjectBuilder) -> ObjectBuilder = $build;
                    RefOr::T(Schema::Object(build(ObjectBuilder::new()).build()))
                }
            }

            impl ToSchema for $word {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed($name)
                }
            }
        )+
    };
}

bounded! {
    /// The size of the steps of a training.
    LearningRateWord, "LearningRate",
        |it| it.schema_type(Type::Number).minimum(Some(MIN_LEARNING_RATE)).maximum(Some(MAX_LEARNING_RATE));
    /// How many layers a network has.
    LayersWord, "Layers", |it| it.schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_LAYERS as usize));
    /// How many steps a training has.
    StepsWord, "Steps", |it| it.schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_STEPS as usize));
    /// A name or an id.
    ReferenceWord, "Reference",
        |it| it.schema_type(Type::String).max_length(Some(MAX_NAME)).pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]*$"));
}

/// Bytes as they are
#[derive(ToSchema)]
#[schema(as = Bytes, format = Binary)]
pub struct BytesWord(String);
