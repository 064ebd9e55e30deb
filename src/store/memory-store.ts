import { EmptyStore } from "./empty-store.ts";

/** `persistence false`: nothing is kept and nothing need be waited for. */
export class MemoryStore extends EmptyStore {
  constructor() {
    super(false, "healthy", 0);
  }
}
