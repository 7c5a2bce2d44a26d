//! GetTelemetrySubscriptions (KIP-714): which of its metrics a client is to push. None are taken here.
//!
//! As in Apache Kafka without a receiver of metrics, the request is answered though it is not advertised.

use tidewater_env::random_id;
use tidewater_protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};

/// The subscription of nothing, which all clients have.
pub(super) const SUBSCRIPTION: i32 = 0;
/// The codecs in which metrics are taken, by their numbers, the best first.
pub(super) const CODECS: [i8; 4] = [4, 3, 1, 2];
/// `telemetry.max.bytes`: the most that is pushed at once.
pub(super) const MAX_BYTES: i32 = 1 << 20;
/// How often a client asks again, while there is nothing to push: `interval.ms` of a subscription by default.
const PUSH_INTERVAL_MS: i32 = 300_000;

pub(crate) fn handle(request: &GetTelemetrySubscriptionsRequest) -> GetTelemetrySubscriptionsResponse {
    let id = if request.client_instance_id.is_nil() { random_id() } else { request.client_instance_id };
    GetTelemetrySubscriptionsResponse::default()
        .with_client_instance_id(id)
        .with_subscription_id(SUBSCRIPTION)
        .with_accepted_compression_types(CODECS.to_vec())
        .with_push_interval_ms(PUSH_INTERVAL_MS)
        .with_telemetry_max_bytes(MAX_BYTES)
        .with_delta_temporality(true)
}
