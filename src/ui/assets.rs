//! Style, scripts and the icon: in the binary, under addresses that change with their content, so that browsers keep them
//! for good. Knows nothing of pages.

use crate::domain::error::{Code, Error};
use crate::http::error::{Shape, response};
use crate::http::routes::{Routes, at};
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, VARY};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::LazyLock;

/// Digits of a hash in an address.
const DIGITS: usize = 12;

/// A file that pages refer to.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 9] = [
    Asset { name: "app.css", content_type: "text/css; charset=utf-8", bytes: include_bytes!("assets/app.css") },
    Asset { name: "app.js", content_type: "text/javascript; charset=utf-8", bytes: include_bytes!("assets/app.js") },
    Asset {
        name: "charts.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/charts.js"),
    },
    Asset { name: "docs.css", content_type: "text/css; charset=utf-8", bytes: include_bytes!("assets/docs.css") },
    Asset { name: "docs.js", content_type: "text/javascript; charset=utf-8", bytes: include_bytes!("assets/docs.js") },
    Asset {
        name: "echarts.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/echarts.min.js"),
    },
    Asset {
        name: "htmx.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/htmx.min.js"),
    },
    Asset {
        name: "gallery.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/gallery.js"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", bytes: include_bytes!("assets/icon.svg") },
];

/// An asset made ready to be sent.
struct Ready {
    address: String,
    packed: LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>,
}

/// The same for every server of this binary, since it follows from the binary alone.
static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let ready = |asset: &'static Asset| {
        let hash = blake3::hash(asset.bytes).to_hex();
        Ready {
            address: format!("/assets/{}-{}", &hash[..DIGITS], asset.name),
            packed: LazyLock::new(Box::new(|| pack(asset.bytes))),
        }
    };
    ASSETS.iter().map(ready).collect()
});

/// The address of an asset; nothing that a browser could load for a name that is none.
pub fn url(name: &str) -> &'static str {
    let found = ASSETS.iter().zip(READY.iter()).find(|(asset, _)| asset.name == name);
    found.map_or("/assets/", |(_, ready)| ready.address.as_str())
}

fn pack(bytes: &[u8]) -> Bytes {
    Bytes::from(gzip(bytes, Compression::best()).unwrap_or_default())
}

/// Bytes, smaller.
///
/// # Errors
/// None in practice: memory is written to.
pub fn gzip(bytes: &[u8], level: Compression) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    packer.write_all(bytes)?;
    packer.finish()
}

/// True where a client takes what is packed.
pub fn takes_gzip(request: &HttpRequest) -> bool {
    request
        .headers()
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|taken| taken.contains("gzip"))
}

pub fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/assets/{file}", Shape::Page).open(Method::GET, asset));
}

async fn asset(request: HttpRequest, file: Path<String>) -> HttpResponse {
    let path = request.path();
    let Some((asset, ready)) = ASSETS.iter().zip(READY.iter()).find(|(_, ready)| ready.address == path) else {
        let message = format!("there is no file {file} here; it is another one since the server was updated");
        return response(Shape::Page, &Error::new(Code::NotFound, message));
    };
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(asset.content_type)
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((VARY, "Accept-Encoding"));
    if takes_gzip(&request) {
        // The first to ask waits some milliseconds for it.
        if let Ok(packed) = tokio::task::spawn_blocking(|| Bytes::clone(&ready.packed)).await
            && !packed.is_empty()
        {
            return answer.insert_header((CONTENT_ENCODING, "gzip")).body(packed);
        }
    }
    answer.body(Bytes::from_static(asset.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assets_together_are_small() {
        let sizes: usize = READY.iter().map(|ready| ready.packed.len()).sum();
        assert!(READY.iter().all(|ready| !ready.packed.is_empty()));
        assert!(sizes < 600 << 10, "{sizes} bytes");
    }
}
