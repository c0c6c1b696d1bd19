"use strict";
// Loaded before Azurite, whose database LokiJS is: two functions that take the longer the more there is, with the same
// outcome otherwise. See docs/decisions/0014-azurite-preload.md.
const { Collection, Resultset } = require("lokijs");

// All indexes of a collection are sorted anew even where nothing is removed from it. At each look into a queue Azurite
// removes what has expired, mostly nothing.
const { remove } = Collection.prototype;
Collection.prototype.remove = function (found) {
  return Array.isArray(found) && found.length === 0 ? undefined : remove.call(this, found);
};

// Conditions are applied in the order in which they are given, and Azurite gives the account first, which all documents
// meet. These are met by one or two, and there is an index of each.
const TELLING = ["name", "messageId"];
const { findAnd } = Resultset.prototype;
Resultset.prototype.$and = Resultset.prototype.findAnd = function (conditions) {
  const tells = (each) => TELLING.some((key) => typeof each[key] === "string");
  return findAnd.call(this, [...conditions.filter(tells), ...conditions.filter((each) => !tells(each))]);
};
