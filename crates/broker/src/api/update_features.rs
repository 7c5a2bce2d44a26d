//! UpdateFeatures: the levels of features are what they are; asking for those in force is answered with yes.

use tidewater_protocol::messages::update_features_response::UpdatableFeatureResult;
use tidewater_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use tidewater_protocol::{RequestContext, ResponseError};

use super::api_versions::FEATURES;
use super::text;

/// From this version on, there are no results.
const ONE_RESULT: i16 = 2;

pub(crate) fn handle(context: &RequestContext, request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let mut results = Vec::new();
    for update in &request.feature_updates {
        let level = FEATURES.into_iter().find(|(name, ..)| **name == *update.feature).map(|(_, _, level)| level);
        let message = match level {
            Some(level) if level == update.max_version_level => None,
            Some(level) => Some(format!(
                "Invalid update version {} for feature {}: its level is {level}, and cannot be changed.",
                update.max_version_level, &*update.feature
            )),
            None => Some(format!(
                "Invalid update version {} for feature {}. The feature is not known here.",
                update.max_version_level, &*update.feature
            )),
        };
        let code = message.as_ref().map_or(0, |_| ResponseError::InvalidUpdateVersion.code());
        results.push(
            UpdatableFeatureResult::default()
                .with_feature(update.feature.clone())
                .with_error_code(code)
                .with_error_message(message.map(text)),
        );
    }
    match results.iter().find(|result| result.error_code != 0) {
        Some(failed) => UpdateFeaturesResponse::default()
            .with_error_code(failed.error_code)
            .with_error_message(failed.error_message.clone()),
        None if context.version < ONE_RESULT => UpdateFeaturesResponse::default().with_results(results),
        None => UpdateFeaturesResponse::default(),
    }
}
