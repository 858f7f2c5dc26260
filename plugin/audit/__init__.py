"""The audit log: one leaf for every change, in the transaction of the change, provable to a stranger."""
