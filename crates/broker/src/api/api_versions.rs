//! ApiVersions: what is answered here, and in which versions.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::ApiVersionsRequest;
use tidewater_protocol::messages::ApiVersionsResponse;
use tidewater_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use tidewater_protocol::{RequestContext, supported_versions};

use super::text;

/// From this version on, a client says its name and version.
const NAMES_CLIENT: i16 = 3;
/// `metadata.version` of Apache Kafka 4.3, by which clients tell what a cluster can do.
const METADATA_VERSION: i16 = 29;
/// Features beside it, with the highest level that Apache Kafka 4.3 has and the one that is in force here.
const FEATURES: [(&str, i16); 2] = [("group.version", 1), ("transaction.version", 2)];

pub(crate) fn handle(context: &RequestContext, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let is_legal = |name: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        name.bytes().all(inner) && end(name.bytes().next()) && end(name.bytes().last())
    };
    let names = [&request.client_software_name, &request.client_software_version];
    if context.version >= NAMES_CLIENT && !names.into_iter().all(|name| is_legal(name)) {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    supported()
}

/// The answer in version 0 to a version that is not known here: the client asks again in one that it finds in it.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    let versions = supported().api_keys.into_iter().filter(|version| version.api_key == API_VERSIONS);
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(versions.collect())
}

/// The key of this request.
const API_VERSIONS: i16 = 18;

fn supported() -> ApiVersionsResponse {
    let versions = supported_versions().map(|(key, versions)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(*versions.start())
            .with_max_version(*versions.end())
    });
    let features = || FEATURES.into_iter().chain([("metadata.version", METADATA_VERSION)]);
    let supported = features().map(|(name, level)| {
        let least = if name == "metadata.version" { level } else { 0 };
        SupportedFeatureKey::default().with_name(text(name)).with_min_version(least).with_max_version(level)
    });
    let finalized = features().map(|(name, level)| {
        FinalizedFeatureKey::default().with_name(text(name)).with_min_version_level(level).with_max_version_level(level)
    });
    ApiVersionsResponse::default()
        .with_api_keys(versions.collect())
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(0)
        .with_finalized_features(finalized.collect())
}
