package main

// objects describes what -json prints. Its first words are kinds of events and names of fields.
const objects = `
With -json, each line is an object with these fields. A field that has no
meaning for an event is left out.

  time     when it happened: RFC 3339, with fractions of a second
  who      a replica, "demo", "redis", or the name of a story
  event    what happened, see below
  fence    the fencing token of the term
  count    what the leader has counted to
  killed   true if a process was ended by a signal
  text     what happened, in words
  verdict  the figures of the verdict, see below

The lines are not strictly in the order of their times, because several
processes write them, and because the time of an event is when it happened, not
when it was written. Sort them by time where the order matters.

These are the events:

  note      words only
  starts    a replica starts
  elected   a term begins; fence
  told      the replica knows that its term is over; fence
  counts    a write of the leader was accepted, sent at time; fence, count
  refused   a write of an old leader was refused, sent at time; fence
  seen      a replica of another terminal is seen to lead; fence
  unseen    this replica is not seen to lead any more
  dead      the process of a replica has ended; killed
  paused    the process of a replica was stopped by SIGSTOP
  resumed   the process is about to be continued by SIGCONT
  cut       a replica was cut off from Redis
  healed    the replica reaches Redis again
  resigns   a replica was asked to resign
  stopped   Redis was stopped
  flushed   Redis has lost its data
  restored  Redis was started again
  verdict   how the run was; verdict, but only in the demo and in stories

These are the fields of a verdict:

  terms               how many terms there were
  leaders             how many replicas led
  replicas            how many replicas took part
  gaps                how many times nobody led
  longest_gap_ms      the longest of these times, in milliseconds
  gap_after           what ended the term before it; left out if there is none
  overlaps            how many times two led
  longest_overlap_ms  the longest of these times, in milliseconds
  refused_writes      how many writes of old leaders were refused
  woke_ms             the longest time, in milliseconds, for which a leader that
                      was continued did not know that its term was over
`
