/** What became of a message that was handed to a session. `dropped`: the queue is full, or nobody is there to take QoS 0. */
export const Admission = { taken: 0, dropped: -1 } as const;
