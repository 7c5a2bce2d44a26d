//! StreamsGroupHeartbeatRequest (KIP-1071).

use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::fields::{encodable, message, structure};

structure! {
    /// A member of a group of the streams protocol is there: it joins, says what has changed with it, or leaves.
    StreamsGroupHeartbeatRequest {
        /// The group.
        group_id, with_group_id: GroupId;
        /// The member's id, which it makes itself and keeps as long as it lives.
        member_id, with_member_id: StrBytes;
        /// 0 to join, −1 to leave, −2 to leave for now.
        member_epoch, with_member_epoch: i32;
        /// The newest that the member knows of where tasks can be asked.
        endpoint_information_epoch, with_endpoint_information_epoch: i32;
        /// Its name as a static member, if it has one.
        instance_id, with_instance_id: Option<StrBytes>;
        /// The rack; null for as it was.
        rack_id, with_rack_id: Option<StrBytes>;
        /// How long it may take to give up tasks; −1 for as it was.
        rebalance_timeout_ms, with_rebalance_timeout_ms: i32 = -1;
        /// What the application is; only when it joins.
        topology, with_topology: Option<Topology>;
        /// The active tasks that it has; null for as before.
        active_tasks, with_active_tasks: Option<Vec<TaskIds>>;
        /// The standby tasks that it has; null for as before.
        standby_tasks, with_standby_tasks: Option<Vec<TaskIds>>;
        /// The warm-up tasks that it has; null for as before.
        warmup_tasks, with_warmup_tasks: Option<Vec<TaskIds>>;
        /// The process in which it runs, perhaps beside others; null for as it was.
        process_id, with_process_id: Option<StrBytes>;
        /// Where its tasks can be asked; null for as it was, or nowhere.
        user_endpoint, with_user_endpoint: Option<Endpoint>;
        /// For the distribution of standby tasks; null for as they were.
        client_tags, with_client_tags: Option<Vec<KeyValue>>;
        /// How far tasks have read their changelogs.
        task_offsets, with_task_offsets: Option<Vec<TaskOffset>>;
        /// Where the changelogs of tasks end.
        task_end_offsets, with_task_end_offsets: Option<Vec<TaskOffset>>;
        /// Whether all members of the group shall stop.
        shutdown_application, with_shutdown_application: bool;
    }
}
message!(StreamsGroupHeartbeatRequest, header 2);

structure! {
    /// What an application is: its parts that are not connected but by topics.
    Topology {
        /// Which one it is.
        epoch, with_epoch: i32;
        /// Its parts.
        subtopologies, with_subtopologies: Vec<Subtopology>;
    }
}
// The coordinator keeps it in a record of the same layout.
encodable!(Topology);

structure! {
    /// A part of a topology.
    Subtopology {
        /// Its name.
        subtopology_id, with_subtopology_id: StrBytes;
        /// Topics that it reads, which are there.
        source_topics, with_source_topics: Vec<TopicName>;
        /// Regular expressions of topics that it reads.
        source_topic_regex, with_source_topic_regex: Vec<StrBytes>;
        /// Topics of its state.
        state_changelog_topics, with_state_changelog_topics: Vec<TopicInfo>;
        /// Repartition topics that it writes.
        repartition_sink_topics, with_repartition_sink_topics: Vec<TopicName>;
        /// Repartition topics that it reads.
        repartition_source_topics, with_repartition_source_topics: Vec<TopicInfo>;
        /// Topics that must have as many partitions.
        copartition_groups, with_copartition_groups: Vec<CopartitionGroup>;
    }
}

structure! {
    /// Topics that must have as many partitions, by their places in the lists of their [`Subtopology`].
    CopartitionGroup {
        /// Of `source_topics`.
        source_topics, with_source_topics: Vec<i16>;
        /// Of `source_topic_regex`.
        source_topic_regex, with_source_topic_regex: Vec<i16>;
        /// Of `repartition_source_topics`.
        repartition_source_topics, with_repartition_source_topics: Vec<i16>;
    }
}

structure! {
    /// A setting.
    KeyValue {
        /// Its name.
        key, with_key: StrBytes;
        /// What it is.
        value, with_value: StrBytes;
    }
}

structure! {
    /// A topic that is made for the application.
    TopicInfo {
        /// Its name.
        name, with_name: TopicName;
        /// Its partitions; 0 if that is left to the broker.
        partitions, with_partitions: i32;
        /// Its replicas; 0 if that is left to the broker.
        replication_factor, with_replication_factor: i16;
        /// Its settings.
        topic_configs, with_topic_configs: Vec<KeyValue>;
    }
}

structure! {
    /// Where a member's tasks can be asked.
    Endpoint {
        /// The host.
        host, with_host: StrBytes;
        /// The port.
        port, with_port: u16;
    }
}

structure! {
    /// Where a task stands.
    TaskOffset {
        /// The part of the topology.
        subtopology_id, with_subtopology_id: StrBytes;
        /// The partition.
        partition, with_partition: i32;
        /// The offset.
        offset, with_offset: i64;
    }
}

structure! {
    /// Tasks of a part of the topology.
    TaskIds {
        /// The part of the topology.
        subtopology_id, with_subtopology_id: StrBytes;
        /// The partitions.
        partitions, with_partitions: Vec<i32>;
    }
}
