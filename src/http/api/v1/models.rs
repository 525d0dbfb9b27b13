//! `/api/v1/models`: what there is to be asked, listed, made and edited.

use super::conditions::{self, escaped, if_match};
use super::fields::Fields;
use super::page::{self, Page};
use super::{answer, time, trash};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::ModelId;
use crate::domain::model::Description;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::result::Best;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{IfMatch, OfFields, OfKey, OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::catalogue::{ModelOrder, ModelView};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models", Shape::Problem).get(list).post(create));
    let one = at("/api/v1/models/{model}", Shape::Problem);
    routes.add(one.get(get).patch(change).delete(trash::delete_model));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, get, change))]
pub(super) struct Docs;

/// A model as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
struct ModelBody {
    id: String,
    name: String,
    description: String,
    /// Null for the machine's owner
    owner: Option<String>,
    /// The dataset of all of its images
    dataset_id: String,
    /// Images in all
    images: u64,
    /// Those of them with a label
    labelled: u64,
    best: Option<BestBody>,
    /// Counts changes of the model itself; also its ETag
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// The best result so far
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Best)]
pub(super) struct BestBody {
    /// As the script printed it
    accuracy: String,
    experiment: String,
    /// Empty for all of the model's images
    dataset: String,
    run_id: String,
}

impl From<Best> for BestBody {
    fn from(best: Best) -> Self {
        Self {
            accuracy: best.accuracy.text().to_owned(),
            experiment: best.experiment_name,
            dataset: best.dataset_name,
            run_id: best.run.to_string(),
        }
    }
}

impl From<ModelView> for ModelBody {
    fn from(view: ModelView) -> Self {
        let ModelView { model, owner, images, best } = view;
        Self {
            id: model.id.to_string(),
            name: model.name.as_str().to_owned(),
            description: model.description.as_str().to_owned(),
            owner,
            dataset_id: images.id.to_string(),
            images: images.images,
            labelled: images.labelled,
            best: best.map(BestBody::from),
            revision: model.stamp.revision,
            created_at: time(model.stamp.created_at),
            updated_at: time(model.stamp.updated_at),
        }
    }
}

/// A new model
#[derive(Deserialize, ToSchema)]
#[schema(as = NewModel)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
    /// What it is for
    #[schema(max_length = 900, pattern = "^[^\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]*$")]
    description: Option<String>,
}

/// What changes of a model
#[derive(Deserialize, ToSchema)]
#[schema(as = ModelChange)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: Option<String>,
    /// What it is for
    #[schema(max_length = 900, pattern = "^[^\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]*$")]
    description: Option<String>,
}

/// Reads the model of a path.
pub(super) fn called(text: &str) -> Result<Reference<ModelId>> {
    Reference::parse("model", text)
}

/// Reads `sort` and the cursor that goes with it.
fn order(given: &Parameters) -> Result<ModelOrder> {
    match given.optional("sort") {
        None | Some("name") => {
            let after = given.optional("cursor").map(|text| Name::parse("cursor", text)).transpose()?;
            Ok(ModelOrder::Name(after))
        }
        Some("created_at") => Ok(ModelOrder::Created(page::cursor(given)?)),
        Some(_) => Err(Error::parameter("sort must be name or created_at")),
    }
}

/// The models that one may see
#[utoipa::path(get, path = "/api/v1/models", operation_id = "list_models", tag = "models",
    params(("prefix" = Option<String>, Query, description = "Only those whose names begin so"),
        ("sort" = Option<String>, Query, description = "`name` (unless said otherwise) or `created_at`", pattern = "^(name|created_at)$"),
        Paging, OfFields),
    responses((status = 200, body = Page<ModelBody>)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let fields = Fields::read::<ModelBody>(&given, "id")?;
        let prefix = given.optional("prefix").unwrap_or_default();
        let (found, next) = services.models(permit, prefix, order(&given)?, page::limit(&given)?)?;
        let next_cursor = next.and_then(|next| match next {
            ModelOrder::Name(last) => last.map(|name| name.as_str().to_owned()),
            ModelOrder::Created(last) => last.map(|id| id.to_string()),
        });
        Ok(Page { data: fields.of_all(found.into_iter().map(ModelBody::from))?, next_cursor })
    })();
    answer(outcome)
}

/// Make a model with its default experiments
#[utoipa::path(post, path = "/api/v1/models", operation_id = "create_model", tag = "models",
    params(OfKey), request_body = Create,
    responses((status = 201, body = ModelBody, headers(("Location" = String), ("ETag" = String))), (status = 409), (status = 422)))]
async fn create(Granted(permit): Granted<Change>, services: Data<Services>, body: Keyed<Create>) -> HttpResponse {
    let make = async |body: Create| {
        let outcome: Result<_> = async {
            let name = Name::parse("name", &body.name)?;
            let description = Description::parse(body.description.as_deref().unwrap_or_default())?;
            let (id, _) = services.create_model(permit, name, description).await?;
            services.model(permit.view(), &Reference::Id(id))
        }
        .await;
        match outcome {
            Ok(view) => {
                let (revision, location) = (view.model.stamp.revision, location(&view.model.name));
                conditions::made(revision, &location, ModelBody::from(view))
            }
            Err(error) => response(Shape::Problem, &error),
        }
    };
    body.once(&services, permit, make).await
}

/// Where a model is found.
fn location(name: &Name) -> String {
    format!("/api/v1/models/{}", escaped(name.as_str()))
}

/// A model
#[utoipa::path(get, path = "/api/v1/models/{model}", operation_id = "get_model", tag = "models", params(OfModel, OfFields),
    responses((status = 200, body = ModelBody, headers(("ETag" = String))), (status = 404)))]
async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let fields = Fields::read::<ModelBody>(&given, "id")?;
        let view = services.model(permit, &called(&path)?)?;
        Ok((view.model.stamp.revision, fields.of(ModelBody::from(view))?))
    })();
    conditions::answer(outcome)
}

/// Change a model's name, or what it is for
#[utoipa::path(patch, path = "/api/v1/models/{model}", operation_id = "update_model", tag = "models", params(OfModel, IfMatch),
    request_body = Changes,
    responses((status = 200, body = ModelBody, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn change(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
    Json(changes): Json<Changes>,
) -> HttpResponse {
    let outcome = async {
        let name = changes.name.map(|name| Name::parse("name", &name)).transpose()?;
        let description = changes.description.map(|text| Description::parse(&text)).transpose()?;
        let view = services.change_model(permit, called(&path)?, if_match(&request)?, name, description).await?;
        Ok((view.model.stamp.revision, ModelBody::from(view)))
    };
    conditions::answer(outcome.await)
}
