//! PushTelemetry (KIP-714): what a client tells of itself. It is checked as Apache Kafka does, and not kept.

use tidewater_protocol::ResponseError;
use tidewater_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use uuid::Uuid;

use super::get_telemetry_subscriptions::{CODECS, MAX_BYTES, SUBSCRIPTION};

/// The number of no codec.
const PLAIN: i8 = 0;
/// Ids that no client has: Kafka's `Uuid.RESERVED`.
const RESERVED: [Uuid; 2] = [Uuid::nil(), Uuid::from_u128(1)];

pub(crate) fn handle(request: &PushTelemetryRequest) -> PushTelemetryResponse {
    let response = PushTelemetryResponse::default();
    match fault(request) {
        Some(fault) => response.with_error_code(fault.code()),
        None => response,
    }
}

fn fault(request: &PushTelemetryRequest) -> Option<ResponseError> {
    if RESERVED.contains(&request.client_instance_id) {
        Some(ResponseError::InvalidRequest)
    } else if request.subscription_id != SUBSCRIPTION {
        Some(ResponseError::UnknownSubscriptionId)
    } else if request.compression_type != PLAIN && !CODECS.contains(&request.compression_type) {
        Some(ResponseError::UnsupportedCompressionType)
    } else if request.metrics.len() > MAX_BYTES as usize {
        Some(ResponseError::TelemetryTooLarge)
    } else {
        None
    }
}
