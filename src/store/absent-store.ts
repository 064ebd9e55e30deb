import { EmptyStore } from "./empty-store.ts";

/** Stands in for a store that can't be opened: what is to be kept waits for a group that never is stored. Nobody is to be told that it was. */
export class AbsentStore extends EmptyStore {
  constructor() {
    super(true, "absent", 1);
  }
}
