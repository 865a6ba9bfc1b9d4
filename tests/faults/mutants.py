"""Breakages of the engine, as a text and what to put in its place, each with the test that must then fail.

`test_mutants.py` plants each of them in a copy of the tree. A breakage whose text is no longer in its file fails too:
bring it up to date together with the code. README.md shows them as a table.
"""

from typing import NamedTuple

UNIT = "tests/unit/engine"
CORE = "tests/unit/core"
STORES = "tests/unit/store/test_store_contracts.py::TestSqliteStore"
STORE = "tests/unit/store"
OWNERSHIP = "tests/unit/ownership"


class Mutant(NamedTuple):
    """What is broken, the promise that it breaks, where, how, and the test that must fail."""

    name: str
    promise: str
    file: str
    text: str
    replacement: str
    test: str


MUTANTS = (
    Mutant(
        "an answer counts whatever turn it was asked in",
        "P5",
        "open_turn.py",
        "                    if live.open_turn != self._number:\n"
        "                        self.was_late = True\n"
        "                        return False\n",
        "",
        f"{UNIT}/test_turns.py::test_an_answer_that_comes_while_a_cancel_is_being_committed_is_dropped",
    ),
    Mutant(
        "the turn about a deleted instance stays open for the next one of its id",
        "P5",
        "live_instances.py",
        "            live.forget()\n            live.give_up_turn()\n",
        "            live.forget()\n",
        f"{UNIT}/test_doubts.py::"
        "test_an_answer_about_an_instance_that_was_deleted_is_not_taken_for_the_next_one_of_its_id",
    ),
    Mutant(
        "a change is acknowledged before it is stored",
        "P1",
        "changes.py",
        "            taken = await write  # to its end, whoever cancels\n",
        "            write = asyncio.get_running_loop().create_future()\n            write.set_result(taken := None)\n",
        f"{UNIT}/test_changes.py::test_after_a_write_that_failed_memory_is_what_the_store_holds",
    ),
    Mutant(
        "an event is acknowledged before it is stored",
        "P1",
        "engine.py",
        "        _, transitions = await self._to_its_end(self._changes.change(instance_id, command))\n"
        "        return EventReceipt(is_duplicate=not transitions)\n",
        "        asyncio.ensure_future(self._to_its_end(self._changes.change(instance_id, command)))\n"
        "        return EventReceipt(is_duplicate=False)\n",
        f"{UNIT}/test_turns.py::test_an_answer_counts_although_an_event_could_not_be_stored_meanwhile",
    ),
    Mutant(
        "memory is changed before the commit",
        "P3",
        "changes.py",
        "        try:\n            taken = await write  # to its end",
        "        live.instance = after\n        try:\n            taken = await write  # to its end",
        f"{UNIT}/test_changes.py::test_a_change_is_seen_and_told_only_after_its_commit",
    ),
    Mutant(
        "the next turn is offered before the commit",
        "P3",
        "changes.py",
        "        try:\n            taken = await write  # to its end",
        "        self._committed(after)\n        try:\n            taken = await write  # to its end",
        f"{UNIT}/test_changes.py::test_a_change_is_told_after_its_commit",
    ),
    Mutant(
        "after a write that failed memory is not read again",
        "P3",
        "changes.py",
        "            live.forget()\n            if not isinstance",
        "            live.instance = after\n            if not isinstance",
        f"{UNIT}/test_changes.py::test_after_a_write_that_failed_memory_is_what_the_store_holds",
    ),
    Mutant(
        "a doubtful write is never looked at",
        "P8",
        "changes.py",
        "                    self.doubts.add(instance.id)\n",
        "                    pass\n",
        f"{UNIT}/test_doubts.py::test_an_event_that_was_stored_after_all_lets_the_instance_go_on",
    ),
    Mutant(
        "changes of one instance do not wait for each other",
        "P7",
        "changes.py",
        "        with self._live.use(instance_id) as live:\n            async with live.lock:\n"
        "                await self.load(live, instance_id)\n                transitions",
        "        with self._live.use(instance_id) as live:\n            async with asyncio.Lock():\n"
        "                await self.load(live, instance_id)\n                transitions",
        f"{UNIT}/test_changes.py::test_changes_of_one_instance_that_come_at_once_follow_one_another",
    ),
    Mutant(
        "one instance is driven twice at a time",
        "P7",
        "dispatcher.py",
        "if not self._is_open or instance_id in self._driving or instance_id in self._queue:",
        "if not self._is_open or instance_id in self._queue:",
        f"{UNIT}/test_dispatcher.py::test_an_instance_that_is_being_driven_is_not_driven_twice",
    ),
    Mutant(
        "what is runnable in the file is not driven after a restart",
        "P8",
        "dispatcher.py",
        "        self._is_open = True\n        self._to_read[None] = None\n",
        "        self._is_open = True\n",
        f"{UNIT}/test_dispatcher.py::test_what_the_store_holds_is_driven_from_the_start",
    ),
    Mutant(
        "a place that is free is not given to who waits for it",
        "P8",
        "dispatcher.py",
        "                self._set_alarm(at)\n            self._fill()\n",
        "                self._set_alarm(at)\n",
        f"{UNIT}/test_dispatcher.py::test_no_more_are_driven_at_a_time_than_allowed_and_they_come_in_order",
    ),
    Mutant(
        "a lost answer counts as a failed attempt",
        "P10",
        "turns.py",
        "            return await self._unavailable(turn, error)\n",
        "            return await turn.fail(str(error))\n",
        f"{UNIT}/test_turns.py::test_an_unavailable_runner_uses_up_no_retry_and_nothing_is_written",
    ),
    Mutant(
        "the count of retries begins anew after a restart",
        "P10",
        "histories.py",
        "its history does not fold: it is another instance's\")\n    return instance\n",
        "its history does not fold: it is another instance's\")\n"
        '    return __import__("dataclasses").replace(instance, failures_here=0)\n',
        f"{UNIT}/test_changes.py::test_the_count_of_failed_attempts_goes_on_after_a_restart",
    ),
    Mutant(
        "Retry-After of a failed step is not obeyed",
        "P10",
        "core/deciding/attempts.py",
        "return policy.delay(failures, jitter) if action.retry_after is None else action.retry_after",
        "return policy.delay(failures, jitter)",
        f"{CORE}/test_retry_budgets.py::test_retry_after_replaces_the_backoff",
    ),
    Mutant(
        "a postponed instance is asked about as soon as anything happens to it",
        "P10",
        "dispatcher.py",
        "        if instance_id in self._postponed:\n            return\n",
        "",
        f"{UNIT}/test_turns.py::test_retry_after_is_obeyed_even_when_an_event_comes_meanwhile",
    ),
    Mutant(
        "the key of a repeated turn is another",
        "P6",
        "turn_request.py",
        'return f"{instance.id}:{instance.run}:{instance.current_step}"',
        'return f"{instance.id}:{instance.run}:{instance.current_step}:{instance.failures_here}"',
        f"{UNIT}/test_turn_request.py::test_a_repeated_turn_has_the_same_key_and_the_next_position_another",
    ),
    Mutant(
        "an event that comes early is not looked for",
        "P11",
        "core/deciding/waits.py",
        "if early.event == action.event and (",
        "if early.event is None and (",
        f"{CORE}/test_events_and_waits.py::test_an_event_that_came_early_is_not_lost",
    ),
    Mutant(
        "of early events the last comes first",
        "P11",
        "core/deciding/waits.py",
        "for early in instance.inbox:",
        "for early in reversed(instance.inbox):",
        f"{CORE}/test_events_and_waits.py::test_early_events_of_one_name_are_taken_first_in_first_out",
    ),
    Mutant(
        "the id of an event is not looked at",
        "P12",
        "core/deciding/waits.py",
        "command.event_id is not None and command.event_id in instance.event_ids",
        "False",
        f"{CORE}/test_events_and_waits.py::test_an_event_id_that_is_known_decides_nothing",
    ),
    Mutant(
        "a start with a used id finds it whatever its input",
        "P13",
        "starts.py",
        "            if has_same_id and existing.name == instance.name and has_same_input:",
        "            if has_same_id and existing.name == instance.name:",
        f"{UNIT}/test_engine.py::test_a_start_with_a_used_id_is_found_or_refused_alike",
    ),
    Mutant(
        "starts with one idempotency key are not held against each other",
        "P13",
        "store/writes.py",
        "owner = instance_id if instance_id in taken_ids else owners.get(key)",
        "owner = instance_id if instance_id in taken_ids else None",
        STORES,
    ),
    Mutant(
        "a wait that got its event times out all the same",
        "P14",
        "core/evolution.py",
        "status=Status.RUNNING, wait=None, due_at=None, **changes)",
        "status=Status.RUNNING, wait=None, **changes)",
        f"{CORE}/test_events_and_waits.py::test_an_event_that_is_committed_before_the_timeout_wins_even_when_it_is_late",
    ),
    Mutant(
        "a due time is rounded to half a second",
        "P15",
        "core/deciding/waits.py",
        "    if instance.due_at is None or now < instance.due_at:\n",
        "    if instance.due_at is None or (instance.due_at - now).total_seconds() > 0.25:\n",
        "tests/properties/test_decider_machine.py::TestDecider",
    ),
    Mutant(
        "a nap is as long as it is until the next due time",
        "P16",
        "timers.py",
        "_LONGEST_NAP_S = 0.5",
        "_LONGEST_NAP_S = 86_400.0",
        f"{UNIT}/test_timers.py::test_a_clock_that_jumps_forward_delays_nothing",
    ),
    Mutant(
        "a sleep that is over is due once more",
        "P17",
        "core/evolution.py",
        "return changed(instance, status=status, due_at=None, group=woken)",
        "return changed(instance, status=status, group=woken)",
        f"{CORE}/test_ends_blocks_and_wake_ups.py::test_waking_ends_a_sleep_and_is_due_only_once",
    ),
    Mutant(
        "a finished instance can be cancelled",
        "P9",
        "core/decider.py",
        '            refuse_finished(instance, "cannot be cancelled")\n',
        "",
        f"{CORE}/test_ends_blocks_and_wake_ups.py::"
        "test_what_has_completed_or_failed_cannot_be_cancelled_and_the_caller_hears_it",
    ),
    Mutant(
        "a cancel lets the turn in flight go on",
        "P28",
        "changes.py",
        "                if not is_driven(instance):\n                    live.give_up_turn()\n"
        "                return instance, transitions\n",
        "                return instance, transitions\n",
        f"{UNIT}/test_turns.py::test_cancelling_during_a_turn_gives_it_up_and_frees_its_place",
    ),
    Mutant(
        "after a cancel one more turn is taken",
        "P28",
        "turns.py",
        "        if not instance.is_runnable:\n            return None\n        if instance.origin",
        "        if instance.origin",
        f"{UNIT}/test_turns.py::test_an_instance_that_is_cancelled_while_it_waits_for_a_place_is_never_asked_about",
    ),
    Mutant(
        "turns go on to the next one while the engine drains",
        "P29",
        "dispatcher.py",
        "        return not self._is_open or self._recoveries",
        "        return self._recoveries",
        f"{UNIT}/test_turns.py::test_a_step_in_flight_may_finish_when_the_engine_closes_and_no_further_one_begins",
    ),
    Mutant(
        "new work is taken while the engine drains",
        "P29",
        "engine_parts.py",
        "        self._lifetime.stop(self._turns_in_flight, grace_s)\n",
        "",
        f"{UNIT}/test_engine.py::test_outside_its_lifetime_every_call_says_that_it_is_not_running",
    ),
    Mutant(
        "the places do not follow the lag of the event loop",
        "P20",
        "dispatcher.py",
        "            self._queue.allow(self._pace.places)\n",
        "",
        f"{UNIT}/test_dispatcher.py::test_while_short_turns_stand_in_line_for_the_loop_fewer_are_in_flight",
    ),
    Mutant(
        "a deletion leaves the history",
        "P13",
        "store/writes.py",
        'for table in ("history", "tags"):',
        'for table in ("tags",):',
        STORES,
    ),
    Mutant(
        "a deleted instance stays in memory",
        "P13",
        "changes.py",
        "                finally:  # what failed may have been done all the same\n"
        "                    self._live.drop(instance_id)\n",
        "                finally:\n                    pass\n",
        f"{UNIT}/test_doubts.py::"
        "test_an_answer_about_an_instance_that_was_deleted_is_not_taken_for_the_next_one_of_its_id",
    ),
    Mutant(
        "who begins to wait does not look for what was published",
        "P11",
        "engine_parts.py",
        "            self._matcher.committed(instance)\n",
        "            pass\n",
        f"{UNIT}/test_publishing.py::test_an_event_that_comes_before_the_wait_is_kept_for_it",
    ),
    Mutant(
        "what a process has not matched is left unmatched by the next one",
        "P8",
        "matcher.py",
        "            tasks.create_task(self._look_at_what_is_left())\n",
        "            self._is_abreast.set()\n",
        f"{UNIT}/test_publishing.py::test_what_a_process_has_not_matched_any_more_the_next_one_matches",
    ),
    Mutant(
        "a published event can be claimed twice",
        "P12",
        "store/published_rows.py",
        '_CLAIM = f"{_SETTLE} WHERE key = ? AND {_IS_KEPT}"',
        '_CLAIM = f"{_SETTLE} WHERE key = ?"',
        f"{STORES}::test_an_event_is_claimed_once",
    ),
    Mutant(
        "of several waits the oldest instance gets the event",
        "P11",
        "store/published_rows.py",
        "ORDER BY waiting_since, key LIMIT ?",
        "ORDER BY key LIMIT ?",
        f"{STORES}::test_waits_are_found_the_oldest_wait_first_whoever_was_started_first",
    ),
    Mutant(
        "a published event is given to a wait that it does not match",
        "P11",
        "matcher.py",
        "                if transitions and not isinstance(transitions[-1], EventTaken):\n"
        "                    return _Claim.UNFIT\n",
        "",
        f"{UNIT}/test_publishing.py::test_the_oldest_wait_that_matches_gets_it_and_one_that_matches_nobody_is_kept",
    ),
    Mutant(
        "a wait is over although what it waits for was published in time",
        "P14",
        "engine_parts.py",
        "        await self._matcher.settle(instance_ids)\n",
        "",
        f"{UNIT}/test_publishing.py::test_what_was_published_in_time_comes_before_the_end_of_the_wait",
    ),
    Mutant(
        "nobody looks for what could go on and is driven by nobody",
        "P8",
        "watchdog.py",
        "        return [*found, *await self._undriven()]\n",
        "        return found\n",
        f"{UNIT}/test_watchdog.py::test_one_that_nobody_drives_is_found_and_driven",
    ),
    Mutant(
        "a parent that waits for a child that has finished is taken for well",
        "P8",
        "watchdog.py",
        "        if child.completed_at is None or self._is_settling(child_id):\n",
        "        if True:\n",
        f"{UNIT}/test_watchdog.py::test_a_parent_that_was_not_told_of_its_childs_end_is_told",
    ),
    Mutant(
        "the number of a deleted change is given again",
        "P3",
        "store/writes.py",
        "    connection.execute(_KEEP_LAST, (last,))\n",
        "",
        f"{STORES}::test_numbers_grow_also_through_deletions_and_restarts",
    ),
    Mutant(
        "who says nothing of it gets an engine that syncs at checkpoints only",
        "P1",
        "workflow_engine.py",
        '        synchronous: Synchronous = "full",\n',
        '        synchronous: Synchronous = "normal",\n',
        "tests/unit/test_workflow_engine.py::test_an_engine_that_is_told_nothing_syncs_each_commit",
    ),
    Mutant(
        "a nap is as long as it is until the next retry of a member",
        "P16",
        "members.py",
        "self._ring(min(left_s, _LONGEST_NAP_S))",
        "self._ring(left_s)",
        f"{UNIT}/test_groups.py::test_while_others_are_asked_for_a_clock_that_jumps_forward_delays_no_retry",
    ),
    Mutant(
        "a due time that is noticed in the middle of a look is not heard",
        "P17",
        "timers.py",
        "            self._is_asked_again = True\n            if self._nap is not None:\n",
        "            if self._nap is not None:\n                self._is_asked_again = True\n",
        f"{UNIT}/test_timers.py::"
        "test_what_is_to_come_again_as_the_clock_is_set_back_in_the_middle_of_a_look_is_not_forgotten",
    ),
    Mutant(
        "a former owner may commit",
        "P21",
        "store/epoch.py",
        "if found is None or found[0] != self._number:",
        "if found is None:",
        f"{STORE}/test_epoch.py::test_a_former_owner_commits_nothing",
    ),
    Mutant(
        "a call that hangs at an owner which was replaced is left there",
        "P21",
        "ownership/owner_client.py",
        "            self._identity = identity\n            self._hang_up()\n",
        "            self._identity = identity\n",
        f"{OWNERSHIP}/test_changing_places.py::"
        "test_a_call_that_an_owner_left_hanging_is_done_by_the_one_that_took_its_place",
    ),
    Mutant(
        "a file that is mounted without its folder has an owner",
        "P21",
        "ownership/guard.py",
        "        if self._real.is_file() and file_systems.is_mounted_alone(self._real):\n",
        "        if False:\n",
        f"{OWNERSHIP}/test_guard.py::"
        "test_a_file_that_is_mounted_without_its_folder_is_refused_by_every_name_before_anything_is_made",
    ),
    Mutant(
        "an owner whose file was named by a link goes on when the link leads to another",
        "P23",
        "ownership/guard.py",
        "        self._check_name()\n",
        "",
        f"{UNIT}/test_lost_file.py::"
        "test_an_engine_whose_name_leads_to_another_file_stops_within_two_seconds_of_its_clock",
    ),
    Mutant(
        "a standby takes over a file that was removed, and begins an empty one",
        "P23",
        "ownership/worker.py",
        "        former = self.standing.state\n        self._check_file()\n",
        "        former = self.standing.state\n",
        f"{OWNERSHIP}/test_standby.py::"
        "test_a_standby_whose_file_was_removed_just_before_its_owner_died_begins_no_empty_one",
    ),
    Mutant(
        "a backup has its name before it is on the disk",
        "P27",
        "store/file_copies.py",
        "            _check(copy)\n            sync(copy)\n",
        "            _check(copy)\n",
        f"{STORE}/test_backup.py::test_the_copy_is_on_the_disk_before_it_has_its_name",
    ),
    Mutant(
        "a restore takes the former file's name away before the new one is on the disk",
        "P27",
        "store/backup.py",
        "            kept = _put_aside(database)\n            sync(database.parent)\n",
        "            kept = _put_aside(database)\n",
        f"{STORE}/test_backup.py::test_the_former_file_has_its_new_name_on_the_disk_before_it_loses_the_old_one",
    ),
    Mutant(
        "a newer file is opened",
        "P30",
        "store/migrations.py",
        "    if version > len(scripts):\n",
        "    if False:\n",
        f"{STORE}/test_migrations.py::test_a_newer_file_is_refused_and_left_alone",
    ),
    Mutant(
        "each step of a migration is a transaction",
        "P30",
        "store/migrations.py",
        "                    *scripts[version:],\n",
        '                    *(f"{script} COMMIT; BEGIN IMMEDIATE;" for script in scripts[version:]),\n',
        f"{STORE}/test_migrations.py::test_of_several_migrations_all_are_made_or_none",
    ),
)
