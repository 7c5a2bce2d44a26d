//! StreamsGroupDescribeResponse (KIP-1071).

use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::fields::{message, structure};
use super::streams_group_heartbeat_request::{Endpoint, KeyValue, TaskIds, TaskOffset, TopicInfo};

structure! {
    /// What groups of the streams protocol are like.
    StreamsGroupDescribeResponse {
        /// How long the client was held back, in milliseconds.
        throttle_time_ms, with_throttle_time_ms: i32;
        /// The groups.
        groups, with_groups: Vec<DescribedGroup>;
    }
}
message!(StreamsGroupDescribeResponse, header 1);

structure! {
    /// A group.
    DescribedGroup {
        /// What went wrong; 0 for nothing.
        error_code, with_error_code: i16;
        /// In words.
        error_message, with_error_message: Option<StrBytes>;
        /// Its name.
        group_id, with_group_id: GroupId;
        /// Its state.
        group_state, with_group_state: StrBytes;
        /// Its epoch.
        group_epoch, with_group_epoch: i32;
        /// The epoch in which tasks were last shared out.
        assignment_epoch, with_assignment_epoch: i32;
        /// What its application is; null if that is not known.
        topology, with_topology: Option<Topology>;
        /// Its members.
        members, with_members: Vec<Member>;
        /// What the client may do with it, as bits.
        authorized_operations, with_authorized_operations: i32 = i32::MIN;
    }
}

structure! {
    /// What an application is.
    Topology {
        /// Which one it is.
        epoch, with_epoch: i32;
        /// Its parts.
        subtopologies, with_subtopologies: Option<Vec<Subtopology>>;
    }
}

structure! {
    /// A part of a topology.
    Subtopology {
        /// Its name.
        subtopology_id, with_subtopology_id: StrBytes;
        /// Topics that it reads.
        source_topics, with_source_topics: Vec<TopicName>;
        /// Repartition topics that it writes.
        repartition_sink_topics, with_repartition_sink_topics: Vec<TopicName>;
        /// Topics of its state.
        state_changelog_topics, with_state_changelog_topics: Vec<TopicInfo>;
        /// Repartition topics that it reads.
        repartition_source_topics, with_repartition_source_topics: Vec<TopicInfo>;
    }
}

structure! {
    /// A member.
    Member {
        /// Its id.
        member_id, with_member_id: StrBytes;
        /// Its epoch.
        member_epoch, with_member_epoch: i32;
        /// Its name as a static member, if it has one.
        instance_id, with_instance_id: Option<StrBytes>;
        /// Its rack.
        rack_id, with_rack_id: Option<StrBytes>;
        /// What its client calls itself.
        client_id, with_client_id: StrBytes;
        /// Where it is.
        client_host, with_client_host: StrBytes;
        /// Of its topology.
        topology_epoch, with_topology_epoch: i32;
        /// The process in which it runs.
        process_id, with_process_id: StrBytes;
        /// Where its tasks can be asked.
        user_endpoint, with_user_endpoint: Option<Endpoint>;
        /// For the distribution of standby tasks.
        client_tags, with_client_tags: Vec<KeyValue>;
        /// How far tasks have read their changelogs.
        task_offsets, with_task_offsets: Vec<TaskOffset>;
        /// Where the changelogs of tasks end.
        task_end_offsets, with_task_end_offsets: Vec<TaskOffset>;
        /// The tasks that it has.
        assignment, with_assignment: Assignment;
        /// The tasks that it shall have.
        target_assignment, with_target_assignment: Assignment;
        /// Whether it speaks the classic protocol.
        is_classic, with_is_classic: bool;
    }
}

structure! {
    /// Tasks of a member.
    Assignment {
        /// Those that it works on.
        active_tasks, with_active_tasks: Vec<TaskIds>;
        /// Those whose state it keeps, to take over.
        standby_tasks, with_standby_tasks: Vec<TaskIds>;
        /// Those whose state it builds, to take over.
        warmup_tasks, with_warmup_tasks: Vec<TaskIds>;
    }
}
