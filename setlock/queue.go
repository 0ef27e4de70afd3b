package setlock

import (
	"container/heap"
	"time"
)

// A queue has renewals in the order in which the renewer has to look at them. The first is
// at index 0.
type queue []entry

type entry struct {
	at      time.Duration // when the renewer has to look at renewal
	renewal *renewal
}

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].renewal.index, q[j].renewal.index = i, j
}

func (q *queue) Push(x any) {
	e := x.(entry)
	e.renewal.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = entry{}
	*q = (*q)[:last]
	return e
}

func (q *queue) add(e *renewal, at time.Duration) { heap.Push(q, entry{at, e}) }
func (q *queue) remove(e *renewal)                { heap.Remove(q, e.index) }

// move sets when the renewer has to look at e.
func (q *queue) move(e *renewal, at time.Duration) {
	(*q)[e.index].at = at
	heap.Fix(q, e.index)
}

// moveAll sets when the renewer has to look at each renewal.
func (q *queue) moveAll(at func(*renewal) time.Duration) {
	for i := range *q {
		(*q)[i].at = at((*q)[i].renewal)
	}
	heap.Init(q)
}
