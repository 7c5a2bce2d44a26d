//! StreamsGroupHeartbeatResponse (KIP-1071).

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::fields::{message, structure};
use super::streams_group_heartbeat_request::{Endpoint, TaskIds};

structure! {
    /// What a member of a group of the streams protocol has to do.
    StreamsGroupHeartbeatResponse {
        /// How long the client was held back, in milliseconds.
        throttle_time_ms, with_throttle_time_ms: i32;
        /// What went wrong; 0 for nothing.
        error_code, with_error_code: i16;
        /// In words.
        error_message, with_error_message: Option<StrBytes>;
        /// The member.
        member_id, with_member_id: StrBytes;
        /// Its epoch.
        member_epoch, with_member_epoch: i32;
        /// How long it should wait to the next heartbeat.
        heartbeat_interval_ms, with_heartbeat_interval_ms: i32;
        /// How far behind the end of its changelog a task may be that takes over.
        acceptable_recovery_lag, with_acceptable_recovery_lag: i32;
        /// How often members should say how far their tasks are.
        task_offset_interval_ms, with_task_offset_interval_ms: i32;
        /// What stands in the way, if anything does.
        status, with_status: Option<Vec<Status>>;
        /// The active tasks that it shall have; null for as before.
        active_tasks, with_active_tasks: Option<Vec<TaskIds>>;
        /// The standby tasks that it shall have; null for as before.
        standby_tasks, with_standby_tasks: Option<Vec<TaskIds>>;
        /// The warm-up tasks that it shall have; null for as before.
        warmup_tasks, with_warmup_tasks: Option<Vec<TaskIds>>;
        /// The newest of where tasks can be asked.
        endpoint_information_epoch, with_endpoint_information_epoch: i32;
        /// Where tasks can be asked; null for as before.
        partitions_by_user_endpoint, with_partitions_by_user_endpoint: Option<Vec<EndpointToPartitions>>;
    }
}
message!(StreamsGroupHeartbeatResponse, header 1);

structure! {
    /// Something that stands in the way.
    Status {
        /// Which kind: 0 an old topology, 1 missing source topics, 2 topics with other numbers of partitions, 3 missing internal topics,
        /// 4 the end of the application, 5 tasks that are not shared out yet.
        status_code, with_status_code: i8;
        /// In words.
        status_detail, with_status_detail: StrBytes;
    }
}

structure! {
    /// What can be asked at one place.
    EndpointToPartitions {
        /// The place.
        user_endpoint, with_user_endpoint: Endpoint;
        /// Of active tasks.
        active_partitions, with_active_partitions: Vec<TopicPartition>;
        /// Of standby tasks.
        standby_partitions, with_standby_partitions: Vec<TopicPartition>;
    }
}

structure! {
    /// Partitions of a topic.
    TopicPartition {
        /// The topic.
        topic, with_topic: TopicName;
        /// The partitions.
        partitions, with_partitions: Vec<i32>;
    }
}
