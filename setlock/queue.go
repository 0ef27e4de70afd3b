package setlock

import "container/heap"

// A queue has renewals in the order in which the renewer has to look at them. The first is
// at index 0.
type queue []*renewal

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*renewal)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}

func (q *queue) add(e *renewal)    { heap.Push(q, e) }
func (q *queue) remove(e *renewal) { heap.Remove(q, e.index) }

// moved restores the order after e.at has changed.
func (q *queue) moved(e *renewal) { heap.Fix(q, e.index) }

// allMoved restores the order after the at of all renewals may have changed.
func (q *queue) allMoved() { heap.Init(q) }
