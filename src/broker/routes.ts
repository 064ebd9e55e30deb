import type { Topic } from "../topic/topic.ts";
import { bytesOfRoute, type Route, type Subscriptions } from "./subscriptions.ts";

/** Estimated memory for the routes that are kept. */
const MAX_BYTES = 8 * 1024 * 1024;

/** The routes of topics, each found once as long as no subscription changes. All are forgotten at once: nothing else refers to them. */
export class Routes {
  private routes: Route[] = [];
  private bytes = 0;
  private generation = -1;
  /** A new one for each time that they are forgotten. */
  private number = 0;

  constructor(private readonly subscriptions: Subscriptions) {}

  of(topic: Topic): Route {
    if (this.generation !== this.subscriptions.generation) this.forget();
    if (topic.routesNumber === this.number) return this.routes[topic.routeIndex] as Route; // set together
    return this.find(topic);
  }

  private find(topic: Topic): Route {
    const route = this.subscriptions.routeOf(topic.name);
    const bytes = bytesOfRoute(route);
    if (this.bytes + bytes > MAX_BYTES) this.forget();
    this.bytes += bytes;
    topic.routeIndex = this.routes.push(route) - 1;
    topic.routesNumber = this.number;
    return route;
  }

  private forget(): void {
    this.routes = [];
    this.bytes = 0;
    this.generation = this.subscriptions.generation;
    this.number += 1;
  }
}
