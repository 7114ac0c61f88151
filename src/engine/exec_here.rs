//! The program in place of this one.

#![allow(unsafe_code, reason = "it gives this process up to the program")]

use std::os::fd::AsFd;

use crate::engine::failure::failure_of;
use crate::engine::join::enter_for_good;
use crate::engine::map_tool::Log;
use crate::engine::mounts::MountState;
use crate::engine::run::Context;
use crate::engine::slot::Slot;
use crate::engine::spawn::Launch;
use crate::engine::steps::run_all;
use crate::error::{AtStep, Error, Step};
use crate::plan::op::{Op, mounts_of};
use crate::process_state;
use crate::sys::in_child::InChild;
use crate::sys::signal::current_mask;
use crate::sys::{Errno, ids, prctl};

impl Launch {
    /// Does here what a child would do. Returns only if that failed.
    pub(crate) fn exec(self) -> Error {
        let plan = &self.plan;
        for op in &plan.intermediate_ops {
            let done = match op {
                Op::Enter(joins) => enter_for_good(&joins.targets),
                Op::DropGroups => ids::drop_groups().at_step(Step::SetGroups),
                _ => prctl::set_dumpable(false).at_step(Step::SetDumpable),
            };
            if let Err(error) = done {
                return error;
            }
        }
        if plan.ops.iter().any(|op| matches!(op, Op::ChangeRoot(_) | Op::Mount(_))) {
            // If the program does not start, the root stays, which all threads share.
            process_state::note_other_root_of_all();
        }
        let mask = match current_mask() {
            Ok(mask) => mask,
            Err(errno) => return Error::os(Step::BlockSignals, errno),
        };
        let slot = Slot::new();
        let mount_state = MountState::of(mounts_of(&plan.ops));
        let context = Context {
            stdio: [0, 1, 2].map(|at: usize| self.streams[at].child.as_ref().map(AsFd::as_fd)),
            exec: Some(&self.exec),
            ..Context::new(&slot, &mount_state, mask)
        };
        // SAFETY: what needs it of the steps here replaces the standard streams, which the program is to have, and
        // sets SIGPIPE as it is to find it; both are documented.
        let child = unsafe { InChild::assume(false) };
        let errno = run_all(&plan.ops, 0, &context, Some(child)).err().unwrap_or(Errno::INVAL);
        failure_of(plan.ops.get(slot.step()), &[], &Log::none(), &slot, errno)
    }
}
