// Package browser has the tests of the example's page in a real browser. It is a module of its own,
// so that importers of the lock do not get what drives the browser.
package browser
