//! ApiVersions: what is answered here, and in which versions.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::ApiVersionsRequest;
use tidewater_protocol::messages::ApiVersionsResponse;
use tidewater_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use tidewater_protocol::{ApiKey, RequestContext, supported_versions};

use super::text;

/// From this version on, a client says its name and version.
const NAMES_CLIENT: i16 = 3;
/// From this version on, a level of a feature may be 0; before, features with such a level are left out.
const LEVEL_ZERO: i16 = 4;
/// The features that are in force, each with the levels of it that Apache Kafka 4.3 has, by name.
pub(super) const FEATURES: [(&str, i16, i16); 6] = [
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    ("kraft.version", 0, 1),
    ("metadata.version", 7, 30),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

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
    supported(context.version)
}

/// The answer in version 0 to a version that is not known here: the client asks again in one that it finds in it.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    let versions = supported(0).api_keys.into_iter().filter(|version| version.api_key == API_VERSIONS);
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(versions.collect())
}

/// What is answered, but of use to no client: Apache Kafka advertises it where something takes the metrics.
const UNADVERTISED: [ApiKey; 2] = [ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry];

/// The key of this request.
const API_VERSIONS: i16 = 18;

fn supported(version: i16) -> ApiVersionsResponse {
    let advertised = supported_versions().filter(|(key, _)| !UNADVERTISED.contains(key));
    let versions = advertised.map(|(key, versions)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(*versions.start())
            .with_max_version(*versions.end())
    });
    let features = FEATURES.into_iter().filter(|(_, least, _)| *least > 0 || version >= LEVEL_ZERO);
    let supported = features.map(|(name, least, newest)| {
        SupportedFeatureKey::default().with_name(text(name)).with_min_version(least).with_max_version(newest)
    });
    let finalized = FEATURES.into_iter().map(|(name, _, newest)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(newest)
            .with_max_version_level(newest)
    });
    ApiVersionsResponse::default()
        .with_api_keys(versions.collect())
        .with_supported_features(supported.collect())
        .with_finalized_features_epoch(0)
        .with_finalized_features(finalized.collect())
}
