//! Multipart forms: fields in any order and one image, streamed. Their pace is watched where they come in.

use super::limits::body::{is_too_slow, slow_body};
use super::parameters::Parameters;
use crate::domain::error::{Code, Error, Result};
use crate::service::Services;
use crate::service::archives::Received;
use crate::service::images::{CheckedImage, too_large};
use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use futures::{Stream, StreamExt};

/// The longest value of a field, in bytes.
const MAX_FIELD: usize = 4096;

/// The most parts of a form.
const MAX_PARTS: usize = 32;

/// Room for the fields and boundaries around an image.
const MAX_AROUND: u64 = 256 << 10;

/// A form that was read to its end.
pub struct Form {
    /// Its fields.
    pub fields: Parameters,
    file: Option<(String, CheckedImage)>,
}

impl Form {
    /// The image and what the client called it.
    ///
    /// # Errors
    /// `invalid_body` where there was none.
    pub fn into_file(self) -> Result<(String, CheckedImage)> {
        self.file.ok_or_else(|| {
            Error::new(
                Code::InvalidBody,
                "the field `file` is missing: send the image as a file, as in curl -F file=@cat.jpg",
            )
        })
    }
}

/// The next part of a form, or the next piece of a part.
///
/// # Errors
/// `invalid_body`, `request_timeout`.
pub async fn next<S, T>(stream: &mut S) -> Result<Option<T>>
where
    S: Stream<Item = std::result::Result<T, MultipartError>> + Unpin,
{
    stream.next().await.transpose().map_err(broken)
}

fn broken(error: MultipartError) -> Error {
    if matches!(&error, MultipartError::Payload(error) if is_too_slow(error)) {
        return slow_body();
    }
    Error::new(Code::InvalidBody, format!("the body is no complete multipart form: {error}; send it as curl -F does"))
}

/// Reads a form to its end.
///
/// # Errors
/// `invalid_body`, `too_large`, `not_an_image`, `request_timeout`; nothing is left on the disk then.
pub async fn read(services: &Services, request: &HttpRequest, mut body: Multipart) -> Result<Form> {
    let limit = services.limits().max_upload_bytes;
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit + MAX_AROUND) {
        return Err(too_large(limit));
    }
    let mut form = Form { fields: Parameters::default(), file: None };
    let mut parts = 0;
    while let Some(mut field) = next(&mut body).await? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(Error::new(Code::InvalidBody, format!("the form has more than {MAX_PARTS} parts")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.content_disposition().and_then(|header| header.get_filename()).map(str::to_owned);
        match file_name {
            Some(file_name) if name == "file" => {
                if form.file.is_some() {
                    return Err(Error::new(
                        Code::InvalidBody,
                        "the form has more than one `file`; send one image a call",
                    ));
                }
                form.file = Some((file_name, read_image(services, &mut field).await?));
            }
            Some(_) => {
                return Err(Error::new(
                    Code::InvalidBody,
                    format!("the form has a file named `{}`; the image goes into `file`", shown(&name)),
                ));
            }
            None if name == "file" => {
                let bytes = read_image(services, &mut field).await?;
                form.file = Some((String::new(), bytes));
            }
            None => {
                let value = read_text(&name, &mut field).await?;
                form.fields.push(name, value);
            }
        }
    }
    Ok(form)
}

/// Reads a form that has a zip file and nothing else.
///
/// # Errors
/// `invalid_body`, `too_large`, `disk_full`, `request_timeout`; nothing is left on the disk then.
pub async fn read_archive(services: &Services, request: &HttpRequest, mut body: Multipart) -> Result<Received> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut receiving = services.begin_archive(announced.map(|length| length.saturating_sub(MAX_AROUND)))?;
    let mut parts = 0;
    while let Some(mut field) = next(&mut body).await? {
        parts += 1;
        let name = field.name().unwrap_or_default().to_owned();
        if parts > 1 || name != "file" {
            let message = format!("the form has `{}`; send the zip file as `file`, and nothing else", shown(&name));
            return Err(Error::new(Code::InvalidBody, message));
        }
        while let Some(piece) = next(&mut field).await? {
            receiving.write(piece).await?;
        }
    }
    if parts == 0 {
        let message = "the field `file` is missing: send the zip file as in curl -F file=@pictures.zip";
        return Err(Error::new(Code::InvalidBody, message));
    }
    receiving.finish().await
}

fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

async fn read_image(services: &Services, field: &mut Field) -> Result<CheckedImage> {
    let mut upload = services.begin_upload();
    while let Some(piece) = next(field).await? {
        upload.write(piece).await?;
    }
    upload.finish().await
}

async fn read_text(name: &str, field: &mut Field) -> Result<String> {
    let mut value = Vec::new();
    while let Some(piece) = next(field).await? {
        value.extend_from_slice(&piece);
        if value.len() > MAX_FIELD {
            return Err(Error::parameter(format!("{} is longer than {MAX_FIELD} bytes", shown(name))));
        }
    }
    String::from_utf8(value).map_err(|_| Error::parameter(format!("{} is not UTF-8 text", shown(name))))
}
