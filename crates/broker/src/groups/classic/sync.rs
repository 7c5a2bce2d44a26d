//! Assignments: the leader says who has what, and each member asks for its share.

use bytes::Bytes;
use tidewater_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use tidewater_protocol::{ResponseError, StrBytes};

use super::super::{Outside, Reply, Timer, Timers};
use super::{ClassicGroup, MemberId, State, answer, refused_sync, text};

impl ClassicGroup {
    /// A member asks for its share, and the leader says what it is.
    pub fn sync(
        &mut self,
        outside: &mut Outside<'_>,
        timers: &mut Timers<Timer>,
        request: &SyncGroupRequest,
        reply: Reply<SyncGroupResponse>,
    ) {
        let id = match self.check_sync(request) {
            Ok(id) => id,
            Err(error) => return answer(reply, refused_sync(error)),
        };
        match self.state {
            State::Empty => answer(reply, refused_sync(ResponseError::UnknownMemberId)),
            State::Preparing => answer(reply, refused_sync(ResponseError::RebalanceInProgress)),
            State::Stable => {
                self.synced(&id, timers);
                answer(reply, self.share(&id));
            }
            State::Completing => {
                self.synced(&id, timers);
                if let Some(member) = self.members.get_mut(&id) {
                    member.sync = Some(reply);
                }
                if self.leader.as_ref() == Some(&id) {
                    self.assign(outside, timers, request);
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<MemberId, ResponseError> {
        let id = self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        let differs = |asked: &Option<StrBytes>, own: &Option<String>| matches!((asked, own), (Some(asked), Some(own)) if **asked != **own);
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(id)
    }

    fn synced(&mut self, id: &MemberId, timers: &mut Timers<Timer>) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            timers.cancel(&Timer::Sync(self.name.clone()));
        }
    }

    fn share(&self, id: &MemberId) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_assignment(self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default())
    }

    /// The leader's assignment is written, and then handed out.
    fn assign(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>, request: &SyncGroupRequest) {
        for (id, member) in &mut self.members {
            let share = request.assignments.iter().find(|share| *share.member_id == **id);
            // Of its own, so that it does not keep the whole request.
            member.assignment = share.map(|share| Bytes::copy_from_slice(&share.assignment)).unwrap_or_default();
        }
        if let Err(error) = self.write(outside) {
            self.fail_syncs(error, outside, timers);
            return self.rebalance(outside, timers);
        }
        self.enter(State::Stable, outside);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let share = self.share(&id);
            if let Some(reply) = self.members.get_mut(&id).and_then(|member| member.sync.take()) {
                answer(reply, share);
                self.expect_heartbeat(&id, outside, timers);
            }
        }
    }

    pub(super) fn fail_syncs(&mut self, error: ResponseError, outside: &Outside<'_>, timers: &mut Timers<Timer>) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            if let Some(reply) = member.sync.take() {
                answer(reply, refused_sync(error));
                self.expect_heartbeat(&id, outside, timers);
            }
        }
    }

    /// The time to ask for shares is over: those who have not are gone.
    pub fn sync_is_due(&mut self, outside: &mut Outside<'_>, timers: &mut Timers<Timer>) {
        if matches!(self.state, State::Completing | State::Stable) && !self.unsynced.is_empty() {
            for id in std::mem::take(&mut self.unsynced) {
                self.remove(&id, timers);
            }
            self.prepare(outside, timers);
        }
    }
}
